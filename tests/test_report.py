"""The report: its numbers, its words, its files; that it opens the test set only for a model, and says so."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from fmnist_tune.config import read_space
from fmnist_tune.data.fashion_mnist import CLASSES, load_part
from fmnist_tune.document.blocks import Code, Fact, Finding, Section, Table
from fmnist_tune.document.page import to_html, to_markdown
from fmnist_tune.document.terminal import View
from fmnist_tune.errors import UserError
from fmnist_tune.evaluation import share_spread
from fmnist_tune.report import model_info, study_figures, study_info
from fmnist_tune.report.drawing import plot_of, png
from fmnist_tune.report.model_part import images_report
from fmnist_tune.report.run import FILES, ReportPaths, write_report
from fmnist_tune.report.study_figures import parallel_figure, slices_figure
from fmnist_tune.report.study_part import climbing
from fmnist_tune.study import findings
from fmnist_tune.study.database import database_url, open_database
from fmnist_tune.study.importances import Importances
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.results import class_table, openings, val_vs_test
from fmnist_tune.study.sampling import params_of
from fmnist_tune.study.summary import Summary, summarize
from fmnist_tune.study.trial_table import TrialRow
from fmnist_tune.tasks import Objective
from fmnist_tune.tasks.images import ImageTask
from tests.conftest import CommandLine, TinyData

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

SPACE = """
study: s
search: {trials: 5}
model: {name: mlp, hidden: {choice: [[8], [16, 8]]}, dropout: {float: [0.0, 0.5]}}
training:
  epochs: 4
  optimizer:
    name: {choice: [sgd, adamw]}
    lr: {float: [1e-4, 1e-1], log: true}
    momentum: {float: [0.8, 0.99], when: {training.optimizer.name: sgd}}
"""
RECIPE = "study: s\nmodel: {name: mlp, hidden: [8]}\ntraining: {epochs: 2}\n"
MODEL_FILES = {
    "confusion_matrix.png", "per_class.png", "reliability.png", "wrong.png", "samples.png", "classes.png",
    "robustness.png", "per_class.csv", "confusion_matrix.csv",
}  # fmt: skip


def trial(
    state: TrialState,
    curve: list[float],
    *,
    lr: float = 0.01,
    sgd: bool = False,
    history: list[dict[str, Any]] | None = None,
    **attrs: Any,
) -> FrozenTrial:
    """Return a trial of SPACE that ended in this state with this curve."""
    values = {
        "model.hidden": [16, 8],
        "model.dropout": 0.25,
        "training.optimizer.name": "sgd" if sgd else "adamw",
        "training.optimizer.lr": lr,
    }
    if sgd:
        values["training.optimizer.momentum"] = 0.9
    params, distributions = params_of(values, read_space(SPACE, "s.yaml"))
    return optuna.create_trial(
        state=state,
        value=curve[-1] if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
        params=params,
        distributions=distributions,
        intermediate_values={i + 1: v for i, v in enumerate(curve)},
        user_attrs=attrs,
        system_attrs={"history": history or []},
    )


TRIALS = [
    trial(TrialState.COMPLETE, [0.5, 0.6, 0.7, 0.8], params=7, duration_s=4.0),
    trial(TrialState.PRUNED, [0.4], sgd=True),
    trial(TrialState.COMPLETE, [0.6, 0.7, 0.8, 0.85], lr=0.09),
    trial(TrialState.FAIL, [], reason="OutOfMemoryError: too `wide`"),
    trial(TrialState.COMPLETE, [0.5, 0.6, 0.7, 0.75]),
]


def open_study(folder: Path, text: str = SPACE, trials: list[FrozenTrial] | None = None) -> StudyRecord:
    space = read_space(text, "s.yaml")
    record = StudyRecord.open(open_database(database_url(folder), create=True), space, StudyPaths(folder, "s"))
    record.optuna.add_trials(TRIALS if trials is None else trials)
    return record


def rows_of(trials: list[FrozenTrial]) -> tuple[TrialRow, ...]:
    numbered = optuna.create_study(direction="maximize")
    numbered.add_trials(trials)
    return study_info.trial_rows(numbered.trials, read_space(SPACE, "s.yaml"), is_running=False)


def add_model(record: StudyRecord, data: TinyData, *, number: int | None, n_seeds: int = 2) -> None:
    """Write what a retraining leaves: seed k's model mistakes the first k + 1 images of class 6 for class 0."""
    labels_N = load_part(data.folder, "test").labels_N
    names = []
    for seed in range(n_seeds):
        scores = np.random.default_rng(seed).normal(0, 0.1, (len(labels_N), 10)).astype(np.float32)
        scores[np.arange(len(labels_N)), labels_N] += 3
        mistaken = np.flatnonzero(labels_N == 6)[: seed + 1]
        scores[mistaken, 0] += 6 + np.arange(len(mistaken), dtype=np.float32)
        path = record.paths.folder / "retrain" / "x" / f"seed-{seed}" / "test_scores.npy"
        path.parent.mkdir(parents=True)
        np.save(path, scores)
        names.append(str(path.relative_to(record.paths.folder)))
    metrics = {
        "study": "s",
        "trial": number,
        "config": {"data": {"keep": {"5": 0.5}}},
        "seeds": list(range(n_seeds)),
        "epochs": 4,
        "params": 1234,
        "val_accuracy": None if number is None else 0.85,
        "scores": names,
    }
    record.paths.model.mkdir()
    (record.paths.model / "metrics.json").write_text(json.dumps(metrics))
    lines = [
        f"{name},{strength},{parameter},{kind},{value}"
        for name, worst in (("noise", 0.3), ("shift", 0.8))
        for strength, parameter in zip(range(1, 6), "abcde", strict=True)
        for kind, value in (("all", 1 - (1 - worst) * strength / 5), ("Bag", 0.5))
    ]
    (record.paths.model / "robustness.csv").write_text(
        "corruption,strength,parameter,class,accuracy\n" + "\n".join(lines) + "\n"
    )


def report(record: StudyRecord, data: TinyData | None) -> ReportPaths:
    return write_report(record, None if data is None else data.folder, log=print)


@pytest.fixture
def checksums(tiny_data: TinyData, monkeypatch: pytest.MonkeyPatch) -> TinyData:
    monkeypatch.setenv("FMNIST_TUNE_MD5SUMS", str(tiny_data.md5sums))
    return tiny_data


def summary_of(tmp_path: Path, trials: list[FrozenTrial]) -> Summary:
    return summarize(open_study(tmp_path, trials=trials), is_running=False)


def test_history_has_every_value_and_the_best_so_far() -> None:
    info = study_info.history(rows_of(TRIALS))
    assert [(p.x, p.value, p.state) for p in info.points] == [
        (0, 0.8, "complete"),
        (1, 0.4, "pruned"),
        (2, 0.85, "complete"),
        (4, 0.75, "complete"),
    ]
    assert info.best_so_far == ((0, 0.8), (2, 0.85), (4, 0.85))
    assert info.failed == (3,)


def test_an_unfinished_or_failed_trial_stands_at_its_last_finite_accuracy() -> None:
    rows = rows_of([trial(TrialState.FAIL, [0.3, 0.4, float("nan")]), trial(TrialState.RUNNING, [0.2])])
    assert [(r.value, r.state) for r in rows] == [(0.4, "failed"), (0.2, "waiting")]


def test_the_accuracy_axis_leaves_a_third_to_the_better_half() -> None:
    assert study_info.floor_of([0.1, 0.9, 0.8, 0.88, 0.92]) == pytest.approx(0.88 - 2 * 0.04)
    assert study_info.floor_of([0.8, 0.9]) == 0.8
    assert study_info.floor_of([0.1, 0.5, 0.5]) == 0.1
    assert study_info.floor_of([]) == 0.0


def test_slices_place_choices_by_index_and_warn_at_an_edge() -> None:
    info = study_info.slices(rows_of(TRIALS), read_space(SPACE, "s.yaml"), 2)
    by_path = {s.path: s for s in info}
    assert [p.x for p in by_path["model.hidden"].points] == [1, 1, 1, 1]
    lr = by_path["training.optimizer.lr"]
    assert (lr.edge, lr.best.x if lr.best else None) == ("upper", 0.09)
    assert by_path["model.dropout"].edge is None
    momentum = by_path["training.optimizer.momentum"]
    assert [(p.x, p.number) for p in momentum.points] == [(0.9, 1)]
    assert momentum.best is None


def test_curves_are_by_epoch_and_name_the_best() -> None:
    info = study_info.curves(rows_of(TRIALS), 2)
    assert [c.number for c in info.curves] == [0, 1, 2, 4]
    assert info.curves[2].epochs == (1, 2, 3, 4)
    assert info.curves[2].values == (0.6, 0.7, 0.8, 0.85)
    assert info.best == 2


def test_parallel_coordinates_place_values_on_the_searched_scale() -> None:
    info = study_info.parallel(rows_of(TRIALS), read_space(SPACE, "s.yaml"))
    assert [line.number for line in info.lines] == [1, 4, 0, 2]
    assert info.lines[0].positions == pytest.approx((1.0, 0.5, 0.0, 2 / 3, 10 / 19))
    assert info.lines[1].positions[4] is None
    assert [(a.path, a.can_be_unused) for a in info.axes][3:] == [
        ("training.optimizer.lr", False),
        ("training.optimizer.momentum", True),
    ]
    assert info.axes[3].ticks == ((0.0, "0.0001"), (1.0, "0.1"))


def test_climb_is_the_gain_over_the_last_third_of_the_best_three() -> None:
    climb = study_info.climb(rows_of(TRIALS))
    assert climb is not None
    assert climb.trials == (2, 0, 4)
    assert climb.gain == pytest.approx((0.05 + 0.1 + 0.05) / 3)
    assert climb.is_climbing
    flat = study_info.climb(rows_of([trial(TrialState.COMPLETE, [0.5, 0.8, 0.8, 0.8005])]))
    assert flat is not None
    assert not flat.is_climbing
    assert study_info.climb(rows_of([trial(TrialState.COMPLETE, [0.5, 0.8])])) is None


SCORES = [np.eye(10, dtype=np.float32)[[0, 1, 1, 6]] * 5, np.eye(10, dtype=np.float32)[[0, 1, 0, 0]] * 5]
LABELS = np.array([0, 1, 1, 6])


def test_the_confusion_matrix_is_the_mean_over_seeds() -> None:
    info = model_info.confusion(SCORES, LABELS, CLASSES)
    assert info.counts_KK[0, 0] == 1
    assert info.counts_KK[1, :2].tolist() == [0.5, 1.5]
    assert info.shares_KK[1, :2].tolist() == [0.25, 0.75]
    assert info.counts_KK.sum() == 4
    assert info.shares_KK[9].sum() == 0  # no such image
    assert info.most_confused() == ("Shirt", "T-shirt/top", 0.5)


def test_class_figures_are_spread_over_seeds() -> None:
    figures = model_info.class_figures(SCORES, LABELS, CLASSES)
    assert (figures[9].precision, figures[9].recall, figures[9].f1) == (None, None, None)
    assert figures[1].recall is not None
    assert figures[0].precision is not None
    assert figures[1].recall.values == (1.0, 0.5)
    assert figures[1].recall.mean == 0.75
    assert figures[0].precision.values == (1.0, pytest.approx(1 / 3))
    assert [c.support for c in figures] == [1, 2, 0, 0, 0, 0, 1, 0, 0, 0]


def test_reliability_pools_seeds_and_spreads_the_error() -> None:
    info = model_info.reliability(SCORES, LABELS)
    sure = np.exp(5) / (np.exp(5) + 9)
    assert info.pooled.count.sum() == 8
    assert info.pooled.accuracy[-1] == pytest.approx(6 / 8)
    assert info.ece.values == pytest.approx((1 - sure, sure - 0.5))


def test_the_surest_mistakes_come_first() -> None:
    scores = SCORES[1].copy()
    scores[3, 0] = 9
    images = np.zeros((4, 28, 28), np.uint8)
    pictures = model_info.confidently_wrong(scores, images, LABELS, CLASSES, 24)
    assert [(p.index, p.true, p.predicted) for p in pictures] == [
        (3, "Shirt", "T-shirt/top"),
        (2, "Trouser", "T-shirt/top"),
    ]
    assert pictures[0].confidence == pytest.approx(np.exp(9) / (np.exp(9) + 9))
    assert model_info.confidently_wrong(SCORES[0], images, LABELS, CLASSES, 24) == ()
    assert [p.index for p in model_info.samples(SCORES[0], images, LABELS, CLASSES, 1)] == [0, 1, 3]


def test_class_counts_say_what_the_configuration_keeps() -> None:
    info = model_info.class_counts(np.repeat(np.arange(10), 20), CLASSES, {5: 0.1, 6: 0.001})
    assert info.counts == (20,) * 10
    assert info.kept == (20, 20, 20, 20, 20, 2, 1, 20, 20, 20)


def test_robustness_takes_the_rows_over_all_classes_in_the_order_of_strength() -> None:
    rows = [
        {"corruption": "noise", "strength": s, "parameter": f"{s}0", "class": kind, "accuracy": value}
        for s, value in (("2", "0.5"), ("1", "0.7"))
        for kind in ("all", "Bag")
    ]
    unchanged = {"corruption": "none", "strength": "0", "parameter": "0.0", "class": "all", "accuracy": "0.9"}
    info = model_info.robustness([unchanged, *rows], 10, 0.9)
    assert info.accuracies == {"noise": (0.7, 0.5)}


def test_validation_and_test_name_both_accuracies_and_that_choosing_is_optimistic() -> None:
    test = model_info.accuracy_over_seeds(SCORES, LABELS)
    assert test.values == (1.0, 0.5)
    (finding,) = val_vs_test(test, val=0.85, trial=2, best=2, n_trials=5, paths=StudyPaths(Path("studies"), "s"))
    assert finding.text.startswith("Trial 2, retrained with 2 seeds, reaches 75.00 % on the test set (")
    assert "validation, 85.00 %, was 10.00 points higher: it is optimistic by design, since the best of 5 trials" in (
        finding.text
    )
    lower, other = val_vs_test(test, val=0.7, trial=2, best=3, n_trials=5, paths=StudyPaths(Path("studies"), "s"))
    assert "5.00 points lower, although it is optimistic by design" in lower.text
    assert other.is_warning
    assert "is of trial 2, but the best trial is 3; `fmnist-tune retrain s`" in other.text
    cut, other = val_vs_test(test, val=None, trial=2, best=3, n_trials=5, paths=StudyPaths(Path("studies"), "s"))
    assert cut.text.startswith("Trial 2, which the search did not train to its end, reaches 75.00 % on the test set (")
    assert other.is_warning
    (recipe,) = val_vs_test(test, val=None, trial=None, best=None, n_trials=0, paths=StudyPaths(Path("studies"), "s"))
    assert recipe.text.startswith("The recipe reaches 75.00 %")


def test_an_interval_that_ends_at_100_percent_keeps_its_width() -> None:
    spread = share_spread([0.98, 0.99, 1.0])
    assert spread.ci95 is not None
    assert spread.ci95[1] == 1.0
    figures = model_info.ClassFigures(name="Bag", precision=spread, recall=spread, f1=spread, support=1000)
    (row,) = class_table({"Bag": figures}).rows
    assert row[2] == f"99.0 ± {100 * (spread.mean - spread.ci95[0]):.1f}"


def test_failures_are_told_with_their_share_and_reasons(tmp_path: Path) -> None:
    (finding,) = findings.failures(summary_of(tmp_path, TRIALS))
    assert finding == Finding("1 of 5 trials failed (20.0 %): `OutOfMemoryError: too 'wide'` (once)", is_warning=True)


def test_no_failure_is_told_too(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, TRIALS[:1])
    assert findings.failures(summary) == [Finding("No trial failed.")]
    assert findings.edges(summary) == [Finding("The best trial lies at no end of a range that could be widened.")]
    assert not findings.initial_point(summary)
    (unfinished,) = findings.progress(summary, is_running=False, is_retrained=False)
    (under_way,) = findings.progress(summary, is_running=True, is_retrained=True)
    assert under_way.text.startswith("A configuration of the study is being retrained:")
    goes_on = f"`{summary.paths.command('resume')}` goes on."
    assert unfinished.text == f"The study has 1 of 5 trials (1 complete); {goes_on}"


@pytest.mark.parametrize("attribute", ["initial", "known_good"])
def test_a_best_trial_that_was_an_initial_point_is_told(tmp_path: Path, attribute: str) -> None:
    initial = trial(TrialState.COMPLETE, [0.6, 0.7, 0.8, 0.9], **{attribute: True})
    summary = summary_of(tmp_path, [initial, *TRIALS[:2]])
    (finding,) = findings.initial_point(summary)
    assert finding.text == (
        "Trial 0 was an initial point (`search.initial`), not sampled. "
        "Sampled trials: 2, trained to the end: 1, better: 0."
    )
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(View(findings.study_section(summary, None, [])))
    assert "best trial 0: validation accuracy 90.00 % (4 epochs, initial point)" in (console.export_text())


LOOKED_AT = [[0.25, 0.3], [0.5, 0.45]]


def test_every_trial_that_has_trained_has_a_point_and_a_curve() -> None:
    rows = rows_of([*TRIALS[:2], trial(TrialState.WAITING, [], looks=LOOKED_AT), trial(TrialState.WAITING, [])])
    history = study_info.history(rows)
    assert [(p.number, p.value) for p in history.points] == [(0, 0.8), (1, 0.4), (2, 0.45)]
    assert (history.failed, history.n_untrained) == ((), 1)
    curve = study_info.curves(rows, 0).curves[-1]
    assert (curve.number, curve.epochs, curve.values) == (2, (0.25, 0.5), (0.3, 0.45))


def test_the_history_says_how_many_trials_it_shows(tmp_path: Path) -> None:
    untrained = trial(TrialState.WAITING, [])
    record = open_study(tmp_path, trials=[*TRIALS, trial(TrialState.WAITING, [], looks=LOOKED_AT), untrained])
    markdown = (report(record, None).html.parent / "report.md").read_text()
    assert "Validation accuracy of the 5 of 7 trials that have trained." in markdown
    assert "Failed before they had one: 1, at the bottom. Not trained yet: 1." in markdown
    assert "| 2 | 85.00 % | complete | 4 |" in markdown
    assert "| 5 | 45.00 % | paused | 0.5 |" in markdown


def test_the_best_trials_are_those_trained_to_their_end_and_then_the_highest() -> None:
    rows = rows_of([*TRIALS, trial(TrialState.WAITING, [0.9])])
    assert [row.number for row in study_info.best_rows(rows, 4)] == [2, 0, 4, 5]


def test_a_choice_of_thousands_names_a_few_values() -> None:
    space = SPACE.replace("{choice: [sgd, adamw]}", "sgd").replace(", when: {training.optimizer.name: sgd}", "")
    values = ", ".join(f"{1e-5 * (i + 1):.5f}" for i in range(5000))
    wide = read_space(space.replace("{float: [1e-4, 1e-1], log: true}", f"{{choice: [{values}]}}"), "s.yaml")
    picked = {
        "model.hidden": [8],
        "model.dropout": 0.1,
        "training.optimizer.lr": 0.02,
        "training.optimizer.momentum": 0.9,
    }
    params, distributions = params_of(picked, wide)
    study = optuna.create_study(direction="maximize")
    study.add_trial(optuna.create_trial(value=0.8, params=params, distributions=distributions))
    rows = study_info.trial_rows(study.trials, wide, is_running=False)
    figure = slices_figure(study_info.slices(rows, wide, 0))
    labels = [label.get_text() for label in figure.axes[2].get_xticklabels()]
    assert (labels[0], labels[-1], len(labels)) == ("1e-05", "0.05", 8)
    texts = parallel_figure(study_info.parallel(rows, wide, 0)).axes[0].texts
    assert len(texts) < 40


def test_an_even_class_distribution_takes_no_plot() -> None:
    assert model_info.class_counts(np.arange(20) % 10, CLASSES, {}).is_even
    assert not model_info.class_counts(np.arange(20) % 10, CLASSES, {5: 0.5}).is_even
    assert not model_info.class_counts(np.arange(21) % 10, CLASSES, {}).is_even


def test_climbing_curves_ask_for_more_epochs() -> None:
    climb = study_info.Climb((2, 0, 4), 0.0667, 4)
    (finding,) = climbing(climb, "constant", Objective())
    assert "still climbed 6.67 points over the last third of 4 epochs: a larger `training.epochs` may help" in (
        finding.text
    )
    assert finding.is_warning
    (annealed,) = climbing(climb, "one_cycle", Objective())
    assert "where every curve climbs" in annealed.text
    (flat,) = climbing(study_info.Climb((1,), -0.001, 9), "constant", Objective())
    assert flat.text == "Trial 1 no longer climbs: -0.10 points over the last third of 9 epochs."


def test_a_test_set_that_judged_two_trials_is_warned_of() -> None:
    uses = [{"at": "", "command": c, "trial": t, "seeds": [0]} for c, t in (("retrain", 1), ("report", 1))]
    (once,) = openings(uses)
    assert once == Finding("the test set has been opened 2 times for this study (retrain 1, report 1)")
    (twice,) = openings([*uses, {**uses[0], "trial": 7}])
    assert twice.is_warning
    assert "It has judged 2 trials (1, 7)" in twice.text


def test_a_page_escapes_what_it_is_given() -> None:
    section = Section("T", ("a <b> `x<y`", Table(("h",), (("p|q",),)), Code("<pre>")))
    page = Section("t & u", (Fact("a", "1", "<i>"), Finding("<script>", True), Section("P", (section,))))
    html = to_html(page)
    assert "A &lt;b&gt; <code>x&lt;y</code>" in html
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert "<title>t &amp; u</title>" in html
    markdown = to_markdown(page)
    assert "- **Note:** &lt;script&gt;" in markdown
    assert "| p\\|q |" in markdown


def test_a_study_without_a_model_gets_its_half_and_the_test_files_stay_closed(tmp_path: Path) -> None:
    record = open_study(tmp_path)
    paths = write_report(record, tmp_path / "no-data-set", log=print)
    html = paths.html.read_text()
    assert "No model has been retrained yet" in html
    assert f"<code>fmnist-tune retrain s --studies-dir {tmp_path}</code>" in html
    assert "Range edge: training.optimizer.lr = 0.09 is at the upper end of 0.0001 .. 0.1 (log)" in html
    assert "The test set has never been opened for this study." in html
    assert record.retraining.test_uses == []
    expected = {"report.html", *FILES} - MODEL_FILES - {"importances.png"}  # too few trials
    assert {p.name for p in paths.files} == expected
    assert {p.name for p in (tmp_path / "s" / "report").iterdir()} == expected
    assert not [p.name for p in (tmp_path / "s").iterdir() if p.name.startswith(".")]


def test_the_whole_report_is_files_that_fit_each_other(tmp_path: Path, checksums: TinyData) -> None:
    record = open_study(tmp_path, trials=[*TRIALS, *TRIALS, *TRIALS])
    record.retraining.add_test_use("retrain", 2, [0, 1])
    add_model(record, checksums, number=2)
    paths = report(record, checksums)
    assert paths.html == tmp_path / "s" / "report" / "report.html"
    assert {p.name for p in paths.files} == {"report.html", *FILES, *ImageTask.report_files}
    html, markdown = paths.html.read_text(), (paths.html.parent / "report.md").read_text()

    references = re.findall(r'(?:src|href)="([^"]*)"|url\(([^)]*)\)', html)
    targets = [a or b for a, b in references]
    assert targets
    assert all(t.startswith(("data:image/png;base64,", "#")) for t in targets)
    assert "<script" not in html
    pictures = [base64.b64decode(t.split(",")[1]) for t in targets if t.startswith("data:")]
    beside = [p.read_bytes() for p in paths.files if p.suffix == ".png"]
    assert sorted(pictures) == sorted(beside)
    assert len(beside) == 12
    for name in re.findall(r"!\[[^]]*\]\(([^)]*)\)", markdown):
        assert (paths.html.parent / name).read_bytes().startswith(b"\x89PNG")
    assert len(re.findall(r"!\[", markdown)) == 12

    for text in (html, markdown):
        assert "retrained with 2 seeds, reaches 98.50 % on the test set" in text
        assert "Weakest classes by recall: Shirt 85.0 %, T-shirt/top 100.0 %, Trouser 100.0 %." in text
        assert "Most frequent mistake: 15.0 % of class Shirt are taken for T-shirt/top." in text
        assert "accuracy falls to 30.0 % under the strongest noise and to 80.0 % under the strongest shift" in text
        assert "The test set has been opened 2 times for this study (retrain 1, report 1)." in text
        assert "fmnist-tune search s.yaml" in text
        assert "fmnist-tune retrain s --trial 2 --seeds 2" in text
        assert "log: true" in text
        assert all(md5 in text for md5 in load_part(checksums.folder, "test").md5)
    assert [(u["command"], u["trial"], u["seeds"]) for u in record.retraining.test_uses] == [
        ("retrain", 2, [0, 1]),
        ("report", 2, [0, 1]),
    ]


def test_the_data_are_called_by_their_name(tmp_path: Path, checksums: TinyData) -> None:
    record = open_study(tmp_path)
    add_model(record, checksums, number=2)
    part = images_report(record, summarize(record, is_running=False), checksums.folder, print)
    assert part.about_data == ("Fashion-MNIST has 60 training images of each of the ten classes.",)


USE = """\
import sys
import time
from pathlib import Path
from fmnist_tune.study.database import database_url, open_database
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.retraining_record import RetrainingRecord

class Slow:
    def __init__(self, study):
        self.study = study

    @property
    def user_attrs(self):
        return self.study.user_attrs

    def set_user_attr(self, key, value):
        time.sleep(0.05)
        self.study.set_user_attr(key, value)

folder = Path(sys.argv[1])
record = StudyRecord.load(open_database(database_url(folder), create=False), StudyPaths(folder, "s"))
retraining = RetrainingRecord(Slow(record.optuna), record.space.task, record.paths)
print("ready", flush=True)
input()
for number in range(5):
    retraining.add_test_use("report", number, [0])
"""


def test_reports_at_the_same_time_are_all_recorded_as_uses_of_the_test_set(tmp_path: Path) -> None:
    record = open_study(tmp_path)
    command = [sys.executable, "-c", USE, str(tmp_path)]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.stdout and process.stdout.readline() for process in both] == ["ready\n"] * 2
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in both:
        process.communicate(timeout=120)
        assert process.returncode == 0
    uses = [use["trial"] for use in record.retraining.test_uses]
    assert sorted(uses) == sorted([*range(5), *range(5)])


def test_the_tables_hold_the_figures(tmp_path: Path, checksums: TinyData) -> None:
    history = [
        {
            "epoch": 1,
            "train_loss": 1.5,
            "train_accuracy": 0.4,
            "val_loss": 1.25,
            "val_accuracy": 0.5,
            "lr": 0.1,
            "train_s": 1.0,
            "val_s": 0.1,
            "n_images": 500,
        }
    ]
    record = open_study(tmp_path, trials=[trial(TrialState.COMPLETE, [0.5], history=history, params=7), *TRIALS[1:]])
    add_model(record, checksums, number=2)
    folder = report(record, checksums).html.parent

    def read(name: str) -> list[dict[str, str]]:
        with (folder / name).open(newline="") as file:
            return list(csv.DictReader(file))

    per_class = {row["class"]: row for row in read("per_class.csv")}
    assert list(per_class) == list(CLASSES)
    assert float(per_class["Shirt"]["recall"]) == pytest.approx(0.85)
    assert float(per_class["Shirt"]["recall_std"]) == pytest.approx(0.05 * 2**0.5)
    assert float(per_class["Shirt"]["recall_ci_low"]) < 0.85 < float(per_class["Shirt"]["recall_ci_high"])
    assert per_class["Shirt"]["support"] == "10"
    confusion = {row["true"]: row for row in read("confusion_matrix.csv")}
    assert (confusion["Shirt"]["T-shirt/top"], confusion["Shirt"]["Shirt"]) == ("1.5", "8.5")
    trials = read("trials.csv")
    assert [row["state"] for row in trials] == ["complete", "pruned", "complete", "failed", "complete"]
    assert trials[1]["training.optimizer.momentum"] == "0.9"
    assert trials[0]["training.optimizer.momentum"] == ""
    curves = read("curves.csv")
    assert (curves[0]["trial"], curves[0]["epoch"], curves[0]["train_loss"], curves[0]["val_loss"]) == (
        "0",
        "1",
        "1.5",
        "1.25",
    )
    assert [row["val_accuracy"] for row in curves if row["trial"] == "2"] == ["0.6", "0.7", "0.8", "0.85"]


def test_a_recipe_gets_the_model_half_alone(tmp_path: Path, checksums: TinyData) -> None:
    record = open_study(tmp_path, RECIPE, [])
    with pytest.raises(
        UserError, match=r"a recipe without a trained model; `fmnist-tune retrain s --studies-dir \S+` makes it"
    ):
        report(record, checksums)
    add_model(record, checksums, number=None, n_seeds=1)
    paths = report(record, checksums)
    assert {p.name for p in paths.files} == {"report.html", "report.md", *MODEL_FILES}
    html = paths.html.read_text()
    assert "The recipe reaches 99.00 % on the test set (one seed, no interval)." in html
    assert "fmnist-tune train s.yaml --seeds 1" in html


def test_a_report_replaces_an_older_one_whole(tmp_path: Path) -> None:
    record = open_study(tmp_path)
    old = tmp_path / "s" / "report" / "confusion_matrix.png"
    mine = tmp_path / "s" / "report" / "notes.txt"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"of an older model")
    mine.write_text("mine")
    report(record, None)
    assert not old.exists()
    assert mine.read_text() == "mine"


def test_a_study_whose_trials_all_failed_is_reported(tmp_path: Path) -> None:
    record = open_study(tmp_path, trials=[TRIALS[3]])
    html = report(record, None).html.read_text()
    assert "No trial has been trained to its end yet, so there is no best trial." in html
    assert "1 of 1 trials failed (100.0 %)" in html


def test_a_study_without_trials_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"study 's' has no trials yet; `fmnist-tune resume s --studies-dir \S+` runs it"
    ):
        report(open_study(tmp_path, trials=[]), None)


def test_missing_scores_and_other_data_are_refused_before_the_test_set_is_opened(
    tmp_path: Path, checksums: TinyData
) -> None:
    record = open_study(tmp_path)
    add_model(record, checksums, number=2)
    record.optuna.set_user_attr("data", {"train_images_md5": "a", "train_labels_md5": "b"})
    with pytest.raises(UserError, match="not the data that study 's' was trained on"):
        report(record, checksums)
    scores = record.paths.folder / "retrain" / "x" / "seed-1" / "test_scores.npy"
    scores.unlink()
    with pytest.raises(UserError, match=r"seed-1/test_scores.npy: cannot be read: No such file"):
        report(record, checksums)
    for content in (b"", b"PK\x03\x04", b"\x93NUMPY"):
        scores.write_bytes(content)
        with pytest.raises(UserError, match=r"seed-1/test_scores.npy: cannot be read: "):
            report(record, checksums)
    assert record.retraining.test_uses == []


def test_a_missing_test_set_is_no_use_of_it(tmp_path: Path, checksums: TinyData) -> None:
    record = open_study(tmp_path)
    add_model(record, checksums, number=2)
    folder = tmp_path / "without a test set"
    folder.mkdir()
    for file in checksums.folder.glob("train-*"):
        shutil.copy(file, folder)
    with pytest.raises(UserError, match="t10k-images"):
        report(record, replace(checksums, folder=folder))
    assert record.retraining.test_uses == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "robustness.csv: not a robustness table (no column 'strength')"),
        (
            "corruption,strength,parameter,class,accuracy\nnoise\n",
            "robustness.csv: not a robustness table (invalid liter",
        ),
        ("corruption,strength,parameter,class,accuracy\nnoise,1,2,all,x\n", "could not convert string to float: 'x')"),
        (None, "robustness.csv: cannot be read: Is a directory"),
    ],
)
def test_a_damaged_robustness_table_is_named(
    tmp_path: Path, checksums: TinyData, text: str | None, message: str
) -> None:
    record = open_study(tmp_path)
    add_model(record, checksums, number=2)
    path = record.paths.model / "robustness.csv"
    path.unlink()
    if text is None:
        path.mkdir()
    else:
        path.write_text(text)
    with pytest.raises(UserError) as caught:
        report(record, checksums)
    assert message in str(caught.value)


def test_the_command_prints_where_the_report_is(command: CommandLine, checksums: TinyData) -> None:
    studies = command.folder / "studies"
    studies.mkdir()
    add_model(open_study(studies), checksums, number=2)
    run = command.here("report", "s", "--data-dir", command.data_dir)
    assert (run.code, run.out) == (0, "studies/s/report/report.html\n")
    run = command.here("report", "s", "--data-dir", command.data_dir, "--json")
    assert run.json["study"] == "s"
    assert run.json["report"] == "studies/s/report/report.html"
    assert "studies/s/report/per_class.csv" in run.json["files"]
    assert all((command.folder / name).is_file() for name in run.json["files"])
    assert "no such study" in command.here("report", "t").err


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on PATH")
def test_nothing_is_cut_on_a_phone_and_no_plot_is_white_on_a_dark_page(tmp_path: Path, checksums: TinyData) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    record = open_study(tmp_path, trials=[*TRIALS, *TRIALS, *TRIALS])
    add_model(record, checksums, number=2)
    html = report(record, checksums).html
    cut = (
        "[...document.querySelectorAll('img, table, pre, section, li')].filter(e => e.scrollWidth > e.clientWidth + 1"
        " || e.getBoundingClientRect().right > innerWidth).map(e => e.outerHTML.slice(0, 80))"
    )
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for width in (390, 800, 1400):
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme="dark")
            page.goto(html.as_uri())
            assert page.evaluate(cut) == []
            assert page.evaluate("document.documentElement.scrollWidth") == width
        filters = page.evaluate("[...document.images].map(i => [i.alt, getComputedStyle(i).filter.split('(')[0]])")
        browser.close()
    shown_as_they_are = {alt for alt, kind in filters if kind == "none"}
    assert shown_as_they_are == {"wrong predictions", "sample predictions"}
    assert len(filters) == 12


def test_a_report_needs_neither_torch_nor_pyplot() -> None:
    code = "import sys, fmnist_tune.report.run; print([m for m in ('torch', 'ray', 'matplotlib.pyplot') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_plot_that_cannot_be_drawn_costs_the_report_no_number() -> None:
    plot = plot_of("importances.png", "importances", study_figures.importances_figure, Importances({}, "all", 1, 10))
    assert (plot.png, plot.error.partition(":")[0]) == (b"", "ValueError")
    section = Section("Importances", ("text", plot, Table(("a", "b"), (("1", "2"),))))
    page = Section("t", ("s", Section("p", (section,))))
    for text in (to_html(page), to_markdown(page)):
        assert "The plot could not be drawn: ValueError" in text
        assert "importances.png" not in text
        assert "2" in text


def test_the_users_matplotlib_settings_do_not_change_a_plot() -> None:
    importances = Importances({"model.$x^": 0.7, "model.depth": 0.3}, "all", 1, 10)
    expected = png(study_figures.importances_figure, importances)
    with matplotlib.rc_context({"text.usetex": True, "font.size": 40, "savefig.dpi": 10, "savefig.transparent": True}):
        assert png(study_figures.importances_figure, importances) == expected
