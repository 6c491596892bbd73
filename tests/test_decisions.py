"""Why trials were begun and continued: kept in short, told by `show` and the report, and compared with what came."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from fmnist_tune.config import read_space
from fmnist_tune.document.terminal import View
from fmnist_tune.engine import Forecast, Reason
from fmnist_tune.engine.adapter import note_of
from fmnist_tune.report.decisions_part import predicted_ends_figure
from fmnist_tune.report.drawing import png
from fmnist_tune.report.run import write_report
from fmnist_tune.report.study_figures import importances_figure
from fmnist_tune.search.simulation import Curve, Simulation
from fmnist_tune.study.decisions import Decision, Predicted, PredictedEnd, PredictedEnds, decisions_of, predicted_ends
from fmnist_tune.study.findings import study_section, trial_section
from fmnist_tune.study.frames import decisions_frame
from fmnist_tune.study.importances import Importances, MainEffects, main_effects_of
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.sampling import params_of
from fmnist_tune.study.summary import summarize, trials_json
from fmnist_tune.study.trial_table import TrialTable, trial_rows
from fmnist_tune.study.trial_writer import TrialWriter, notes_of
from fmnist_tune.tasks import Objective
from tests.conftest import CommandLine
from tests.studies import SPACE, open_study

ASHA = "{name: asha, reduction_factor: 2}"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FREEZE_THAW = SPACE.replace(ASHA, "{name: freeze-thaw}")
NOTE = {"evaluations": 9, "rule": "gain", "end": [0.9, 0.8, 0.95], "horizon": 3.26, "seconds": 41.7, "gain": 0.0021}
GAIN = "highest expected gain per second: 0.21 points in 42 s, by epoch 3.3; predicted end 90.00 % (90 % interval 80.00 % to 95.00 %)"


def trial(
    *curve: float,
    state: TrialState = TrialState.COMPLETE,
    notes: Mapping[str, Any] | None = None,
    lr: float = 0.01,
    **attrs: Any,
) -> FrozenTrial:
    """Return a trial with this curve and with notes of its scheduler by epoch."""
    values = {
        "model.hidden": [8],
        "model.dropout": 0.25,
        "training.optimizer.name": "adamw",
        "training.optimizer.lr": lr,
    }
    params, distributions = params_of(values, read_space(FREEZE_THAW, "s.yaml"))
    return optuna.create_trial(
        state=state,
        value=curve[-1] if state == TrialState.COMPLETE else None,
        params=params,
        distributions=distributions,
        intermediate_values={i + 1: value for i, value in enumerate(curve)},
        user_attrs={"stop_reason": "epochs", **attrs} if state == TrialState.COMPLETE else attrs,
        system_attrs={f"picked:{epoch}": note for epoch, note in (notes or {}).items()},
    )


def study(folder: Path, *trials: FrozenTrial, text: str = FREEZE_THAW) -> StudyRecord:
    folder.mkdir(exist_ok=True)
    record = open_study(folder, text)
    record.optuna.add_trials(trials)
    return record


def finished(predicted: float, realised: float, lr: float = 0.01) -> FrozenTrial:
    note = {**NOTE, "end": [predicted, predicted - 0.01, predicted + 0.01]}
    return trial(0.5, 0.6, 0.7, realised, notes={"0": 4, "1.0": NOTE, "2.0": note}, lr=lr)


def printed(view: Any, width: int = 200) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(view, crop=False)
    return stream.getvalue()


def shown(record: StudyRecord, number: int) -> list[str]:
    """Return the lines of `show --trial` on a wide terminal."""
    (row,) = trial_rows([record.trials[number]], record.space, is_running=False)
    searched = {p.path: str(p.domain) for p in record.space.parameters}
    return printed(View(trial_section(row, searched, record.objective)), 300).splitlines()


def test_a_trial_says_where_it_stands_and_in_a_line_each_why_it_was_begun_and_continued(tmp_path: Path) -> None:
    notes = {"0": {"evaluations": 1, "rule": "spread"}, "0.1": NOTE, "2.0": {**NOTE, "rule": "leap", "gain": 1e-9}}
    record = study(tmp_path, trial(0.5, 0.6, state=TrialState.WAITING, notes=notes))
    assert shown(record, 0) == [
        "trial 0: paused; accuracy 60.00 %; epoch 2 of 4",
        "  parameter                value  searched",
        "  model.hidden             [8]    [8], [16, 8]",
        "  model.dropout            0.25   0 .. 0.5",
        "  training.optimizer.name  adamw  sgd, adamw",
        "  training.optimizer.lr    0.01   0.0001 .. 0.1 (log)",
        "  begun: one of the first, cheap and far from the others",
        f"  continued at epoch 0.1: {GAIN}",
        "  continued at epoch 2: highest expected gain per second, large gains alone, as the best has not risen for long: "
        "< 0.001 points in 42 s, by epoch 3.3; predicted end 90.00 % (90 % interval 80.00 % to 95.00 %)",
    ]


def test_an_initial_point_was_not_chosen_by_what_was_expected_of_other_values(tmp_path: Path) -> None:
    record = study(tmp_path, trial(0.5, notes={"0": NOTE, "1.0": NOTE}, initial=True))
    assert shown(record, 0)[-2:] == ["  begun: an initial point", f"  continued at epoch 1: {GAIN}"]


@pytest.mark.parametrize(
    "note",
    [7, None, "gain", [], {}, {"evaluations": 3}, {"rule": None}, {"rule": 3}],
)
def test_a_note_that_is_no_reason_is_none(tmp_path: Path, note: Any) -> None:
    record = study(tmp_path, trial(0.5, notes={"0": note}))
    assert decisions_of(record.trials[0], record.space) == ()
    assert shown(record, 0)[-1].startswith("  why it was begun and continued is not known: freeze-thaw alone keeps")


@pytest.mark.parametrize(
    "damage", [{"end": [0.9]}, {"end": None}, {"end": "abc"}, {"gain": "much"}, {"gain": math.nan}, {"seconds": None}]
)
def test_of_a_damaged_note_the_rule_is_left(tmp_path: Path, damage: dict[str, Any]) -> None:
    record = study(tmp_path, trial(0.5, notes={"0": {**NOTE, **damage}}))
    assert decisions_of(record.trials[0], record.space) == (Decision(0.0, "gain"),)
    json.dumps(trials_json(record.trials, record.space, is_running=False), allow_nan=False)


def test_a_rule_of_another_version_is_shown_literally_and_controls_no_terminal(tmp_path: Path) -> None:
    record = study(tmp_path, trial(0.5, notes={"0": {"rule": "\x1b[2Jby [bold]magic[/]"}}))
    assert shown(record, 0)[-1] == "  begun: [2Jby [bold]magic[/]"


def test_notes_of_another_scheduler_are_its_own_affair(tmp_path: Path) -> None:
    record = study(tmp_path, trial(0.5, notes={"0": NOTE}), text=SPACE)
    assert decisions_of(record.trials[0], record.space) == ()


def test_json_has_every_decision(tmp_path: Path) -> None:
    record = study(tmp_path, trial(0.5, notes={"0": {"rule": "spread"}, "1.0": NOTE}))
    (found,) = trials_json(record.trials, record.space, is_running=False)
    nothing = dict.fromkeys(("end", "horizon", "seconds", "gain"))
    end = {"median": 0.9, "low": 0.8, "high": 0.95}
    assert found["decisions"] == [
        {"epoch": 0.0, "rule": "spread", **nothing},
        {"epoch": 1.0, "rule": "gain", "end": end, "horizon": 3.26, "seconds": 41.7, "gain": 0.0021},
    ]
    row = next(csv.DictReader(io.StringIO(decisions_frame(record).iloc[1:].to_csv(index=False))))
    assert row == {
        "trial": "0", "epoch": "1.0", "rule": "gain", "median": "0.9", "low": "0.8", "high": "0.95", "horizon": "3.26",
        "seconds": "41.7", "gain": "0.0021",
    }  # fmt: skip


def test_a_note_is_short_however_long_its_numbers_are() -> None:
    third = 1 / 3
    reason = Reason("spread", Forecast((third, third / 7, 0.999999), 10_000 * third, third * 1e7, third * 1e-9))
    text = json.dumps(note_of(123_456, reason))
    assert json.loads(text)["end"] == [0.33333, 0.047619, 1.0]
    assert len(text) < 160


def test_predictions_are_compared_with_the_ends_of_trials_that_came_to_them(tmp_path: Path) -> None:
    others = [
        trial(0.5, 0.9, state=TrialState.PRUNED, notes={"0": NOTE}),
        trial(0.5, 0.9, notes={"0": NOTE}, stop_reason="early_stopping"),
        trial(0.5, 0.6, 0.7, 0.9, notes={"0": 3}),
    ]
    ends = [finished(0.9, 0.905), finished(0.9, 0.92), finished(0.7, 0.75)]
    assert predicted_ends(study(tmp_path / "a", *others, *ends[:2]).trials, read_space(FREEZE_THAW, "s.yaml")) is None
    record = study(tmp_path / "b", *others, *ends)
    found = predicted_ends(record.trials, record.space)
    assert found is not None
    assert [(t.number, t.first.median, t.latest.median, t.realised) for t in found.trials] == [
        (3, 0.9, 0.9, 0.905),
        (4, 0.9, 0.9, 0.92),
        (5, 0.9, 0.7, 0.75),
    ]
    assert (found.first_covered, found.latest_covered) == (2, 1)
    text = "of 3 trials trained to their ends, the model's 90 % interval holds the end of 2 at its first decision about the trial, and of 1 at its last"
    assert found.text == text
    assert f"  {text}\n" in printed(View(study_section(summarize(record, is_running=False), None, [])))


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_table_has_the_predicted_end_where_it_fits(tmp_path: Path, width: int) -> None:
    record = study(tmp_path, finished(0.9, 0.91), trial(0.5, notes={"0": NOTE}, state=TrialState.WAITING), trial(0.4))
    lines = printed(TrialTable.of(record, is_running=False, shares={}), width).splitlines()
    assert ("predicted end" in lines[0]) is (width >= 120)
    if width >= 120:
        assert [line.split("  ")[-1] for line in lines[1:4]] != ["", "", ""]
        assert "90.00 %" in lines[2]
    assert max(map(len, lines)) <= width
    assert "--trial N says why a trial was begun and continued" in " ".join(" ".join(lines).split())


def test_the_report_explains_the_best_trials_and_draws_predicted_against_realised_ends(tmp_path: Path) -> None:
    trials = [finished(0.9, 0.905), finished(0.9, 0.92), finished(0.7, 0.75)]
    for n in (2, 3):
        record = study(tmp_path / str(n), *trials[:n])
        files = {path.name for path in write_report(record, None, log=print).files}
        page = (tmp_path / str(n) / "s" / "report" / "report.md").read_text()
        assert ("predicted_ends.png" in files) is (n == 3)
        assert ("Predicted and realised ends" in page) is (n == 3)
        row = "| 0 | 1 | gain per second | 0.21 points in 42 s, by epoch 3.3 | 90.00 % (80.00 % to 95.00 %) |"
        assert row in page
        assert len(page.split("### Why these trials")[1].split("###")[0].splitlines()) == 5 + 2 + 2 * n
        assert "decisions.csv" in files
    assert (
        "Of 3 trials trained to their ends, the model's 90 % interval holds the end of 2 at its first decision" in page
    )


def test_a_report_on_other_schedulers_has_nothing_of_it(tmp_path: Path) -> None:
    record = study(tmp_path, *(finished(0.9, 0.9) for _ in range(4)), text=SPACE)
    stale = tmp_path / "s" / "report" / "predicted_ends.png"
    stale.parent.mkdir(parents=True)
    stale.touch()
    files = {path.name for path in write_report(record, None, log=print).files}
    page = (tmp_path / "s" / "report" / "report.md").read_text()
    assert not stale.exists()
    assert not files & {"predicted_ends.png", "decisions.csv"}
    assert "Why these trials" not in page
    assert "main effect" not in page


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on PATH")
def test_no_reason_is_cut_on_a_page_of_any_width(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    record = study(tmp_path, *(finished(0.9, 0.905, lr=10**-k) for k in (2, 2.5, 3)))
    html = write_report(record, None, log=print).html
    cut = "[...document.querySelectorAll('table, .scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for width in (390, 800, 1280):
            page = browser.new_page(viewport={"width": width, "height": 800})
            page.goto(html.as_uri())
            assert page.locator("text=gain per second").count() == 6
            assert page.evaluate(cut) == 0
        browser.close()


def test_ends_are_drawn_however_many_and_wherever_they_are() -> None:
    def end(number: int, median: float, half: float, realised: float) -> PredictedEnd:
        predicted = Predicted(median, max(0.0, median - half), min(1.0, median + half))
        return PredictedEnd(number, predicted, predicted, realised)

    for ends in ([end(0, 0.9, 0.0, 0.9)] * 3, [end(n, 0.5 + n / 200, 0.4, 0.9) for n in range(90)]):
        for objective in (Objective(), type("Own", (Objective,), {"is_on_curve": False})()):
            assert png(predicted_ends_figure, PredictedEnds(tuple(ends)), objective).startswith(b"\x89PNG")


LR = "training.optimizer.lr"


def searched_by_lr(folder: Path, n: int, text: str = FREEZE_THAW) -> StudyRecord:
    """Return a study of random values, of which the learning rate alone matters."""
    folder.mkdir(exist_ok=True)
    record = open_study(folder, text, search__trials=n)
    writer = TrialWriter(record)
    while (spec := writer.begin()) is not None:
        for epoch in range(1, 5):
            writer.report(spec.number, epoch, 0.9 - 0.2 / epoch + 0.05 * math.log10(spec.values[LR]))
        writer.complete(spec.number, 0.9)
    return record


def test_main_effects_are_those_of_the_model_and_named_beside_the_importances(tmp_path: Path) -> None:
    record = searched_by_lr(tmp_path, 20)
    effects = main_effects_of(record)
    assert effects is not None
    assert next(iter(effects.shares)) == LR
    assert effects.shares[LR] > 0.9
    assert 0.9 < sum(effects.shares.values()) < 1.02
    assert set(effects.shares) == {p.path for p in record.space.parameters}
    lines = printed(View(study_section(summarize(record, is_running=False), None, [])), 80).splitlines()
    assert any(line.split() == ["parameter", "value", "importance", "main", "effect"] for line in lines), lines
    assert any(line.startswith(f"  {LR}") and line.endswith("%") for line in lines)
    assert "main effect: what a parameter explains alone" in printed(
        View(study_section(summarize(record, is_running=False), None, []))
    )
    write_report(record, None, log=print)
    page = (tmp_path / "s" / "report" / "report.md").read_text()
    assert "(PED-ANOVA; the shares add up to 100 %)" in page
    assert "(main effect: first-order Sobol index of the log error; the rest up to 100 % is interactions)" in page
    html = (tmp_path / "s" / "report" / "report.html").read_text()
    assert '<th scope="col" class="number">main effect</th>' in html


def test_main_effects_need_ten_trials_and_freeze_thaw(tmp_path: Path) -> None:
    assert main_effects_of(searched_by_lr(tmp_path / "a", 9)) is None
    assert main_effects_of(searched_by_lr(tmp_path / "b", 10)) is not None
    assert main_effects_of(searched_by_lr(tmp_path / "c", 10, SPACE)) is None


def test_nothing_has_an_effect_where_all_trials_are_alike(tmp_path: Path) -> None:
    assert main_effects_of(study(tmp_path, *(trial(0.5, 0.6) for _ in range(12)))) is None


def test_two_measures_of_importance_are_drawn_side_by_side() -> None:
    importances, effects = Importances({"a": 0.7, "b": 0.3}, "all", 5, 20), MainEffects({"b": 0.6, "a": 0.1})
    figure = importances_figure(importances, effects)
    (axes,) = figure.axes
    assert [round(bar.get_width(), 2) for bar in axes.patches] == [0.7, 0.3, 0.1, 0.6]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["PED-ANOVA", "main effect"]
    assert importances_figure(effects).legends == []


def curve(number: int, values: Mapping[str, Any]) -> Curve:
    level = 0.9 - 0.05 * abs(math.log10(values[LR]) + 2.5)
    return Curve([level - 0.2 / (epoch + 1) for epoch in range(1, 10)], 10.0)


def test_a_search_keeps_a_reason_with_every_decision_in_a_few_bytes(tmp_path: Path) -> None:
    text = FREEZE_THAW.replace("trials: 6", "trials: 8").replace("epochs: 4", "epochs: 9")
    record = open_study(tmp_path, text)
    Simulation(record, curve, n_workers=1).run()
    decisions = [decisions_of(t, record.space) for t in record.trials]
    assert [len(found) for found in decisions] == [len(notes_of(t)) for t in record.trials]
    assert [found[0].rule for found in decisions[:4]] == ["spread"] * 4
    assert {found[0].rule for found in decisions[4:]} <= {"gain", "leap"}
    by_model = [decision for found in decisions for decision in found if decision.rule != "spread"]
    assert all(d.end is not None and 0 <= d.end.low < d.end.median < d.end.high <= 1 for d in by_model)
    assert all(d.seconds == pytest.approx(10 * (d.horizon - d.epoch), rel=0.2) for d in by_model if d.epoch)
    assert all(d.gain is not None and 0 <= d.gain < 0.3 for d in by_model)
    assert max(len(json.dumps(note)) for t in record.trials for note in notes_of(t).values()) < 160
    assert max(len(notes_of(t)) for t in record.trials) <= 5  # at epochs 0, 1, 2, 4, 8


@pytest.fixture
def told(command: CommandLine) -> CommandLine:
    """A command line beside a study of three finished trials, and a recipe's."""
    folder = command.folder / "studies"
    study(folder, finished(0.9, 0.905), finished(0.9, 0.92), finished(0.7, 0.75))
    open_study(folder, "study: recipe\nmodel: {name: mlp}\n")
    open_study(folder, FREEZE_THAW.replace("study: s", "study: empty"))
    return command


def test_show_has_one_trial(told: CommandLine) -> None:
    run = told.here("show", "s", "--trial", "1")
    assert run.code == 0, run.err
    assert run.out.startswith("trial 1: complete; accuracy 92.00 %; epoch 4 of 4\n")
    assert f"  continued at epoch 1: {GAIN}" in " ".join(run.out.split("\n"))
    found = told.here("show", "s", "--trial", "1", "--json").json
    assert (found["study"], found["number"], found["value"]) == ("s", 1, 0.92)
    assert [d["epoch"] for d in found["decisions"]] == [1.0, 2.0]


def test_show_as_json_has_importances_and_predicted_ends(told: CommandLine) -> None:
    shown = told.here("show", "s", "--json").json
    assert shown["predicted_ends"] == {"trials": 3, "first_covered": 2, "latest_covered": 1}
    assert (shown["importances"], shown["main_effects"]) == (None, None)
    assert [len(found["decisions"]) for found in shown["all"]] == [2, 2, 2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["s", "--trial", "3"], "--trial 3: study 's' has trials 0 to 2"),
        (["s", "--trial", "-1"], "argument --trial: '-1' is not a whole number of at least 0"),
        (["s", "--trial", "best"], "argument --trial: 'best' is not a whole number of at least 0"),
        (["s", "--trial", "1.0"], "argument --trial: '1.0' is not a whole number of at least 0"),
        (["s", "--trial"], "argument --trial: expected one argument"),
        (["s", "--trial", "1", "--csv"], "not allowed with argument"),
        (["s", "--wide", "--trial", "1"], "not allowed with argument"),
        (["recipe", "--trial", "0"], "--trial 0: study 'recipe' is a recipe's; it has no trials"),
        (["empty", "--trial", "0"], "study 'empty' has no trials yet"),
    ],
)
def test_a_wrong_trial_gets_one_message_and_exit_code_2(told: CommandLine, words: list[str], message: str) -> None:
    run = told.here("show", *words)
    assert (run.code, run.out) == (2, "")
    assert message in run.err
    assert "Traceback" not in run.err
