"""Schedulers that are not ours: found by name, checked as ours are, and asked what to train."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from fmnist_tune.config import read_space
from fmnist_tune.errors import FileError
from fmnist_tune.search.scheduler import Pick
from fmnist_tune.search.simulation import Checkpoint, Curve, Simulation
from fmnist_tune.study.sampling import sample
from fmnist_tune.study.trial_data import curve_of, metadata_of
from fmnist_tune.study.trial_writer import milestone_of
from tests.conftest import TINY_SPACE, CommandLine
from tests.studies import SPACE, drive, open_study, report

PLUGINS = Path(__file__).parent / "plugins"
MEDIAN = SPACE.replace("{name: asha, reduction_factor: 2}", "{name: 'tests.plugins.my_schedulers:MedianStopping'}")
GROWING = SPACE.replace("{name: asha, reduction_factor: 2}", "{name: 'tests.plugins.my_schedulers:Growing'}")
TINY = TINY_SPACE.replace(
    "name: asha, min_epochs: 1, reduction_factor: 2", "name: 'my_schedulers:MedianStopping', every: 1"
)


def told(pruner: str) -> str:
    """Return what is said of a file with such a pruner."""
    with pytest.raises(FileError) as error:
        read_space(f"study: s\nmodel: {{name: mlp}}\nsearch: {{pruner: {pruner}}}\n", "s.yaml")
    return str(error.value)


@pytest.mark.parametrize(
    ("pruner", "message"),
    [
        ("{name: ahsa}", "search.pruner.name: 'ahsa' is not a scheduler; allowed are asha, freeze-thaw, none; did you mean 'asha'?"),
        ("{name: hyperband}", "'hyperband' is not a scheduler; allowed are asha, freeze-thaw, none; a scheduler of your own is named package.module:Class"),
        ("{name: 'absent_schedulers:X'}", "search.pruner.name: absent_schedulers:X: no module absent_schedulers among the installed packages"),
        ("{name: 'tests.plugins.my_models:Wide'}", "is the class Wide; it must be a class derived from fmnist_tune.search.scheduler.SchedulerSection"),
        ("{name: 'tests.plugins.my_schedulers:MedianStoping'}", "has no MedianStoping; did you mean 'MedianStopping'?"),
        ("{name: 'tests.plugins.my_schedulers:MedianStopping', evry: 2}", "search.pruner.evry: unknown key; allowed are name, first, every; did you mean 'every'?"),
        ("{name: 'tests.plugins.my_schedulers:MedianStopping', every: 0}", "search.pruner.every: 0: should be greater than or equal to 1"),
        ("{reduction_factor: 1}", "search.pruner.reduction_factor: 1: should be greater than or equal to 2"),
        ("{factor: 2}", "search.pruner.factor: unknown key; allowed are name, min_epochs, reduction_factor"),
        ("[asha]", "search.pruner: ['asha'] alone; write {name: asha}"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_pruner_is_named(pruner: str, message: str) -> None:
    assert message in told(pruner)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("    pass", "has no method build"),
        ("    def build(self): return 3", "search.pruner: build returned 3, not a Scheduler"),
        ("    def build(self): return 1 / 0", "raised ZeroDivisionError: division by zero (broken_{n}.py, line 4)"),
        *(
            (
                "    def build(self): return S(self)\n"
                f"class S(Scheduler):\n    def milestone(self, epoch): return {milestone}",
                f"search.pruner: milestone {shown} after epoch 0: must be at least 0.001 later, and above 1 a whole number",
            )
            for milestone, shown in (("1.5", "1.5"), ("0", "0"), ("'two'", "'two'"), ("float('nan')", "nan"))
        ),
    ],
)
def test_a_scheduler_that_cannot_be_built_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    n = abs(hash(code))
    (tmp_path / f"broken_{n}.py").write_text(
        f"from fmnist_tune.search.scheduler import *\n\nclass X(SchedulerSection):\n{code}\n"
    )
    monkeypatch.chdir(tmp_path)
    assert message.format(n=n) in told(f"{{name: 'broken_{n}:X'}}")


@pytest.mark.parametrize("first", [0.5, 1, 4])
def test_a_first_milestone_is_a_share_of_the_first_epoch_or_a_whole_number(first: float) -> None:
    text = MEDIAN.replace("MedianStopping'", f"MedianStopping', first: {first}")
    assert read_space(text, "s.yaml").settings.search.pruner.first_milestone == first


def test_a_scheduler_of_ones_own_prunes_with_its_own_words(tmp_path: Path) -> None:
    record = open_study(tmp_path, MEDIAN)
    driver = drive(record)
    for number, accuracy in enumerate([0.5, 0.9, 0.3]):
        assignment = driver.next_assignment()
        assert assignment is not None
        goes_on = driver.on_report(report(assignment.number, [accuracy]))
        assert goes_on == (number < 2)
    assert record.trials[2].state == TrialState.PRUNED
    assert metadata_of(record.trials[2])["stop_reason"].endswith("MedianStopping: 30.00 % at epoch 1, rank 3/3")


def rising(number: int, values: Any) -> Curve:
    return Curve([0.1 * number + 0.01 * epoch for epoch in range(4)], 10.0)


def test_a_scheduler_may_choose_each_milestone_and_propose_values(tmp_path: Path) -> None:
    record = open_study(tmp_path, GROWING)
    assert record.space.settings.search.pruner.build().next is not None
    simulation = Simulation(record, rising, n_workers=2)
    simulation.run()
    assert record.is_finished
    assert {t.state for t in record.trials} == {TrialState.COMPLETE}
    assert [milestone_of(t) for t in record.trials] == [4] * 6
    hidden = [t.params["model.hidden"] for t in record.trials]
    assert max(map(hidden.count, hidden)) == 3, "those that were proposed the least often"


def test_an_interrupted_trial_goes_on_to_the_milestone_it_had(tmp_path: Path) -> None:
    def run(folder: Path, stops: list[int]) -> list[tuple[dict[str, Any], dict[float, float]]]:
        """Search with one worker, whose driver stops after some reports."""
        folder.mkdir()
        checkpoints: dict[int, Checkpoint] = {}
        for n in (*stops, 10_000):
            record = open_study(folder, GROWING)
            simulation = Simulation(record, rising, n_workers=1, checkpoints=checkpoints)
            for _ in range(n):
                if not simulation.busy and simulation.give() is None:
                    break
                (worker,) = simulation.busy.values()
                simulation.take(worker.step())
            simulation.driver.release_all()
        return [(t.params, curve_of(t)) for t in record.trials]

    assert run(tmp_path / "a", []) == run(tmp_path / "b", [1, 1, 2, 3, 1, 4])


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("next(self, s): return 1 / 0", "ZeroDivisionError: division by zero (failing_{n}.py, line 5)"),
        ("next(self, s): return 7", "TypeError: next returned 7, which is neither a Pick nor None"),
        ("next(self, s): return Pick(7)", "trial 7 does not wait at a milestone"),
        ("next(self, s): return Pick(milestone=0)", "milestone 0 after epoch 0: must be at least"),
        (
            "next(self, s): return Pick(milestone=1.5)",
            "milestone 1.5 after epoch 0: must be at least 0.001 later, and above 1 a whole",
        ),
        ("next(self, s): return Pick(values=dict(a=3))", "a cannot be 3: it is not searched"),
        ("next(self, s): return Pick(values={'model.dropout': 3.0})", "model.dropout cannot be 3.0: 0 .. 0.5"),
        ("report(self, *_): raise KeyError('x')", "KeyError: 'x' (failing_{n}.py, line 5)"),
        ("milestone(self, epoch): return 1", "milestone 1 after epoch 1: must be at least"),
        ("to_prune(self, s): raise OSError('x')", "OSError: x (failing_{n}.py, line 5)"),
    ],
)
def test_what_goes_wrong_in_a_scheduler_ends_the_search_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, message: str
) -> None:
    n = abs(hash(method))
    module = tmp_path / f"failing_{n}.py"
    text = (
        "from fmnist_tune.search.scheduler import Pick, Scheduler, SchedulerSection\n\nclass Y(Scheduler):\n"
        "    def milestone(self, epoch): return epoch + 1\n"
        f"    def {method}\n\nclass X(SchedulerSection):\n"
        "    def build(self): return Y(self)\n"
    )
    module.write_text(text)
    monkeypatch.chdir(tmp_path)
    record = open_study(tmp_path, SPACE.replace("{name: asha, reduction_factor: 2}", f"{{name: 'failing_{n}:X'}}"))
    driver = drive(record)
    if driver.next_assignment() is not None:
        driver.on_report(report(0, [0.5]))
    assert driver.next_assignment() is None
    assert not driver.running
    assert driver.failure is not None
    assert driver.failure.startswith(f"search.pruner: failing_{n}:X: ")
    assert message.format(n=n) in driver.failure
    assert {t.state for t in record.trials} <= {TrialState.WAITING}
    assert all(curve_of(t) == {1: 0.5} for t in record.trials)


def test_trials_of_an_earlier_version_wait_where_they_waited(tmp_path: Path) -> None:
    record = open_study(tmp_path)
    waiting: list[tuple[dict[int, float], dict[str, float]]] = [
        ({1: 0.5}, {}),
        ({1: 0.6, 2: 0.6}, {"goes_on_from": 1.0}),
        ({1: 0.7, 2: 0.7}, {"goes_on_from": 2.0}),
        ({1: 0.4, 2: 0.4, 3: 0.4}, {"goes_on_from": 2.0}),
        ({}, {}),
    ]
    for number, (curve, attributes) in enumerate(waiting):
        trial = sample(record.space, [], number, given={})
        trial.state, trial.intermediate_values, trial.system_attrs = TrialState.WAITING, curve, attributes
        record.optuna.add_trial(trial)
    driver = drive(record)
    assert driver.n_paused == 2, "0 at the first rung, 1 at the second one"
    assignments = [driver.next_assignment() for _ in range(3)]
    assert [a.number for a in assignments if a is not None] == [2, 3, 4]
    assert [milestone_of(record.trials[n]) for n in (2, 3, 4)] == [4, 4, 1]


def test_the_default_scheduler_trains_one_trial_after_the_other_to_its_end(tmp_path: Path) -> None:
    scheduler = open_study(tmp_path, SPACE.replace("name: asha", "name: none")).space.settings.search.pruner.build()
    assert math.isinf(scheduler.milestone(0))
    assert Pick().milestone is None


@pytest.mark.ray
def test_a_scheduler_of_ones_own_is_checked_searched_with_and_resumed(
    command: CommandLine, joined: CommandLine
) -> None:
    shutil.copy(PLUGINS / "my_schedulers.py", joined.folder)
    (joined.folder / "s.yaml").write_text(TINY)
    shown = joined("check", "s.yaml").out
    assert "sampler tpe, pruner my_schedulers:MedianStopping" in shown
    assert "search.pruner.first" in shown
    result = joined.search(TINY, "--json")
    assert result.code == 0, result.err
    assert result.json["trials"]["failed"] == 0
    result = joined("resume", "tiny", "--trials", "6", "--data-dir", joined.data_dir, "--json")
    assert result.code == 0, result.err
    assert result.json["trials"]["total"] == 6
    assert result.json["trials"]["complete"] >= 1
    (joined.folder / "my_schedulers.py").unlink()
    result = command("resume", "tiny", "--trials", "7", "--data-dir", joined.data_dir)
    assert result.code == 2
    assert "no module my_schedulers among the installed packages or in the current folder" in result.err
