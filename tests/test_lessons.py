"""Earlier studies teach new ones: what a lesson holds, how far it is followed, where it is kept, wrong names."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmnist_tune.config.domain import ChoiceDomain, FloatDomain
from fmnist_tune.config.parameters import Parameter
from fmnist_tune.engine import Begin, Encoding, Engine, Point, SearchState, TrialState
from fmnist_tune.engine.cost import CostModel
from fmnist_tune.engine.effects import main_effects
from fmnist_tune.engine.lesson import Lesson, Lessons
from fmnist_tune.errors import FileError, UserError
from fmnist_tune.search.lessons import lesson_of, lessons_for
from fmnist_tune.search.simulation import Curve, Simulation
from fmnist_tune.study.lessons import keep_lesson, lessons_in
from fmnist_tune.study.record import StudyRecord
from tests.conftest import TINY_SPACE, CommandLine
from tests.studies import SPACE, open_study

LR, SIZE = Parameter("lr", FloatDomain(1e-4, 1e-1, log=True)), Parameter("size", FloatDomain(0.0, 1.0))
KIND = Parameter("kind", ChoiceDomain(("a", "b")))
ASHA = "{name: asha, reduction_factor: 2}"
TAUGHT = SPACE.replace(ASHA, "{name: freeze-thaw}").replace("trials: 6", "trials: 12")


def trials_of(encoding: Encoding, n: int, best_lr: float, seed: int = 0) -> list[TrialState]:
    """Return trials of which those near a learning rate are best; sizes do not matter, but cost."""
    rng = np.random.default_rng(seed)
    trials = []
    for number, row in enumerate(encoding.draw(rng, n)):
        values = encoding.values(row)
        level = 0.9 - 0.1 * abs(math.log10(values["lr"] / best_lr))
        points = tuple(Point(float(e), level - 0.1 / e, 3 * number + e - 1) for e in (1, 2, 3))
        seconds = 30.0 * math.exp(values.get("size", 0.0))
        trials.append(TrialState(number, values, points, seconds=seconds, epochs=3))
    return trials


def lesson(encoding: Encoding, best_lr: float, study: str = "old", n: int = 40) -> Lesson:
    found = Lesson.of(study, trials_of(encoding, n, best_lr), encoding, 3)
    assert found is not None
    return Lesson(**json.loads(json.dumps(found.to_json())))


def test_a_lesson_tells_what_mattered_and_what_was_best() -> None:
    encoding = Encoding([LR, SIZE])
    taught = lesson(encoding, best_lr=3e-3)
    assert taught.scales["size"] > taught.scales["lr"] + 0.3
    best = taught.configurations[int(np.argmax(taught.ends))]
    assert abs(math.log10(best["lr"] / 3e-3)) < 0.3
    assert Lesson.of("old", trials_of(encoding, 2, 3e-3), encoding, 3) is None
    assert len(json.dumps(lesson(encoding, 3e-3, n=400).to_json())) < 40_000, "a column of MySQL holds 64 kB"


def test_what_another_space_calls_the_same_is_learned_and_the_rest_is_left_out() -> None:
    taught = lesson(Encoding([LR, SIZE]), best_lr=3e-3)
    here = Encoding([KIND, LR])
    lessons = Lessons([taught], here)
    units = np.array([here.units({"kind": kind, "lr": lr}) for kind in ("a", "b") for lr in (1e-4, 3e-3, 1e-1)])
    ends = lessons.ends(here.features(units)).reshape(2, 3)
    assert ends[0] == pytest.approx(ends[1])
    assert ends[0][1] > max(ends[0][0], ends[0][2]) + 1
    assert not np.isnan(lessons.best(np.random.default_rng(0))).any()


def test_a_parameter_that_has_not_been_varied_has_an_effect_where_lessons_tell_of_it() -> None:
    encoding = Encoding([LR, SIZE])
    trials = [replace(t, values={**t.values, "lr": 3e-3}) for t in trials_of(encoding, 4, best_lr=3e-3)]
    alone, taught = (main_effects(encoding, trials, 3, lessons) for lessons in ([], [lesson(encoding, best_lr=3e-3)]))
    assert alone is not None
    assert taught is not None
    assert alone["lr"] < 0.5 < taught["lr"]


def test_a_search_begins_near_what_was_best_before() -> None:
    encoding = Encoding([LR, SIZE])
    far = []
    for lessons in ([], [lesson(encoding, best_lr=3e-3)]):
        for seed in range(8):
            engine = Engine(encoding, max_epochs=3, seed=seed, lessons=lessons)
            decision = engine.decide(SearchState([], decision=0))
            assert isinstance(decision, Begin)
            far.append(abs(math.log10(decision.values["lr"] / 3e-3)))
    assert np.mean(far[8:]) < 0.5 < np.mean(far[:8])


@pytest.mark.parametrize(("best_lr", "least", "most"), [(3e-4, 0.7, 2.0), (1e-1, 0.0, 0.2)])
def test_a_lesson_is_followed_as_far_as_it_proves_true(best_lr: float, least: float, most: float) -> None:
    encoding = Encoding([LR, SIZE])
    lessons = Lessons([lesson(encoding, best_lr=3e-4)], encoding)
    trials = trials_of(encoding, 12, best_lr, seed=1)
    units = np.array([encoding.units(trial.values) for trial in trials])
    levels = np.array([trial.points[-1].value for trial in trials])
    trust = lessons.trust(encoding.features(units), (levels - levels.mean()) / levels.std())
    assert least <= trust <= most


def test_seconds_of_earlier_studies_tell_ratios_where_nothing_else_does() -> None:
    encoding = Encoding([LR, SIZE])
    lessons = Lessons([lesson(encoding, best_lr=3e-3)], encoding)
    ends = encoding.features(np.array([encoding.units({"lr": 1e-2, "size": size}) for size in (0.0, 1.0)]))
    small, large = CostModel(2, None, lessons.seconds()).log_s(ends)
    assert large - small == pytest.approx(1, abs=0.2)
    assert np.ptp(CostModel(2, None).log_s(ends)) == 0


def curve(number: int, values: Mapping[str, Any]) -> Curve:
    level = 0.9 - 0.05 * abs(math.log10(values["training.optimizer.lr"]) + 2.5)
    return Curve([level - 0.2 / (epoch + 1) for epoch in range(1, 10)], 10.0)


def run(record: StudyRecord, n_reports: int | None = None) -> None:
    simulation = Simulation(record, curve, n_workers=1)
    if n_reports is None:
        simulation.run()
        return
    for _ in range(n_reports):
        if not simulation.busy:
            simulation.give()
        (worker,) = simulation.busy.values()
        simulation.take(worker.step())
    simulation.driver.release_all()


def studies(folder: Path, *, teach: bool = True) -> StudyRecord:
    """Return a new study beside a finished one, of which it has learned."""
    folder.mkdir()
    old = open_study(folder, TAUGHT.replace("study: s", "study: old"))
    run(old)
    new = open_study(folder, TAUGHT, search__learn_from=["old"])
    for found in lessons_for(new.space, new.paths, str(new.storage.url)) if teach else ():
        keep_lesson(new, found)
    return new


def test_what_a_study_learned_is_kept_in_it_and_decides_the_same_after_an_interruption(tmp_path: Path) -> None:
    whole, cut = studies(tmp_path / "whole"), studies(tmp_path / "cut")
    run(whole)
    run(cut, n_reports=9)
    again = open_study(tmp_path / "cut", TAUGHT, search__learn_from=["old"])
    assert [x["study"] for x in lessons_in(again)] == ["old"]
    assert lessons_for(again.space, again.paths, str(again.storage.url)) == [], "it has learned that already"
    run(again)
    assert [t.params for t in again.trials] == [t.params for t in whole.trials]
    assert [t.params for t in again.trials] != [t.params for t in taught_nothing(tmp_path).trials]


def taught_nothing(tmp_path: Path) -> StudyRecord:
    record = studies(tmp_path / "alone", teach=False)
    run(record)
    return record


def test_a_study_of_another_space_teaches_what_they_share(tmp_path: Path) -> None:
    old = open_study(tmp_path, TAUGHT.replace("study: s", "study: old"))
    run(old)
    found = lesson_of(old)
    assert found is not None
    assert "training.optimizer.momentum?" in found["scales"]
    wider = TAUGHT.replace("dropout: {float: [0.0, 0.5]}", "activation: {choice: [relu, gelu]}")
    new = open_study(tmp_path, wider, search__learn_from=["old"])
    keep_lesson(new, found)
    run(new)
    assert all(trial.state.is_finished() for trial in new.trials)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["absent"], "search.learn_from: absent: no such study in this database; there are empty, old, other, s"),
        (["od"], "no such study in this database; did you mean 'old'?"),
        (["s"], "search.learn_from: s: a study cannot learn from itself"),
        (["empty"], "search.learn_from: empty: fewer than three of its trials have been evaluated"),
        (["other"], "search.learn_from: other: nothing that it searched is searched here"),
    ],
)
def test_teachers_that_are_none_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    open_study(tmp_path, TAUGHT.replace("study: s", "study: old"))
    open_study(tmp_path, TAUGHT.replace("study: s", "study: empty"))
    open_study(tmp_path, "study: other\nmodel: {name: mlp, width: {int: [8, 16]}}\n")
    record = open_study(tmp_path, TAUGHT, search__learn_from=names)
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        lessons_for(record.space, record.paths, str(record.storage.url))


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("{learn_from: [a], sampler: {name: tpe}}", "learn_from has no effect on asha"),
        ("{learn_from: a}", "search.learn_from"),
        ("{learn_from: ['../a']}", "cannot name a study"),
        ("{learn_from: [a, 3]}", "search.learn_from"),
    ],
)
def test_a_file_that_cannot_learn_is_refused(tmp_path: Path, search: str, message: str) -> None:
    text = f"study: s\nsearch: {search}\nmodel: {{name: mlp, dropout: {{float: [0.0, 0.5]}}}}\n"
    with pytest.raises(FileError, match=message):
        open_study(tmp_path, text)


def test_a_search_learns_from_a_study_on_other_data_which_it_then_no_longer_needs(study: CommandLine) -> None:
    text = TINY_SPACE.replace("study: tiny", "study: pupil").replace("val_size: 100", "val_size: 120")
    text = text.replace("  sampler: {name: tpe, seed: 0}\n", "").replace("trials: 4", "trials: 2")
    text = text.replace("  pruner: {name: asha, min_epochs: 1, reduction_factor: 2}\n", "")
    run = study.search(text, "--learn-from", "tiny")
    assert run.code == 0, run.err
    assert "learns from study tiny: 4 of its configurations" in run.err
    assert study("show", "pupil", "--json").json["learned_from"] == ["tiny"]
    shown = " ".join(study("show", "pupil").out.split())
    assert "It learned from earlier studies (`search.learn_from`): tiny." in shown
    assert study("delete", "tiny", "--yes").code == 0
    again = study("resume", "pupil", "--trials", "3", "--data-dir", study.data_dir)
    assert again.code == 0, again.err
    assert "learns from" not in again.err
    assert study("show", "pupil", "--json").json["learned_from"] == ["tiny"]


def test_wrong_teachers_are_refused_before_anything_is_made(command: CommandLine) -> None:
    text = TINY_SPACE.replace("  sampler: {name: tpe, seed: 0}\n", "")
    for words, message in (
        (["--learn-from", "absent"], "learn_from has no effect on asha"),
        (["--learn-from", "a/b"], "a study is named without its folder; did you mean 'b'?"),
        (["--learn-from"], "expected at least one argument"),
    ):
        run = command.search_here(text, *words)
        assert run.code == 2
        assert message in " ".join(run.err.split())
    free = text.replace("  pruner: {name: asha, min_epochs: 1, reduction_factor: 2}\n", "")
    run = command.search_here(free, "--learn-from", "absent")
    assert run.code == 2
    assert "search.learn_from: absent: no such study in this database; there are none yet" in " ".join(run.err.split())
    assert not (command.folder / "studies").exists()
