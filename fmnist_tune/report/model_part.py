"""The report's half on the retrained model."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fmnist_tune.document.blocks import Content, Fact, Finding, Section, Table
from fmnist_tune.evaluation import SeedStats
from fmnist_tune.report import model_figures, model_info
from fmnist_tune.report.drawing import plot_of
from fmnist_tune.report.model_info import ClassFigures, ConfusionInfo, PredictedImage, ReliabilityInfo, RobustnessInfo
from fmnist_tune.report.retrained import Retrained, load_retrained
from fmnist_tune.report.task_report import TaskReport
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.results import class_table, classes_text, over_seeds, points, val_vs_test
from fmnist_tune.study.summary import Summary
from fmnist_tune.units import in_words, percent

N_WRONG, SAMPLES_PER_CLASS = 24, 2
COLUMNS = 4  # of images with predictions


def images_report(
    record: StudyRecord, summary: Summary, data_dir: Path | None, log: Callable[[str], None]
) -> TaskReport:
    """Return the report's part on a retrained image classifier; opens the test set if there is a model."""
    retrained = load_retrained(record, data_dir, log)
    if retrained is None:
        return TaskReport()
    classes = model_info.class_counts(retrained.train.labels_N, retrained.class_names, {})
    n_classes = in_words(len(classes.names))
    even = f"{retrained.data_set} has {classes.counts[0]:,} training images of each of the {n_classes} classes."
    return TaskReport(
        content=model_content(retrained, summary),
        metrics=retrained.metrics,
        train_md5=retrained.train.md5,
        test_md5=retrained.test.md5,
        about_data=(even,) if classes.is_even else (),
    )


def model_content(retrained: Retrained, summary: Summary) -> Content:
    """Return the report's content on a retrained model; `summary` is of its study."""
    metrics, scores, labels_N = retrained.metrics, retrained.scores, retrained.test.labels_N
    trial, val = metrics["trial"], metrics["val_accuracy"]
    test = model_info.accuracy_over_seeds(scores, labels_N)
    confusion = model_info.confusion(scores, labels_N, retrained.class_names)
    figures = model_info.class_figures(scores, labels_N, retrained.class_names)
    reliability = model_info.reliability(scores, labels_N)
    best, n_trials = None if summary.best is None else summary.best.number, summary.counts["total"]
    found = (
        *val_vs_test(test, val=val, trial=trial, best=best, n_trials=n_trials, paths=summary.paths),
        *classes(figures, confusion),
        *calibrated(reliability),
        *robust(retrained.robustness),
    )
    calibration = f"expected (ECE){', mean over seeds' if len(scores) > 1 else ''}"
    facts = (
        Fact("Test accuracy", percent(test.mean), test.certainty()),
        Fact("Calibration error", percent(reliability.ece.mean), calibration),
        Fact("Model", f"{metrics['params']:,}", f"parameters, {metrics['epochs']} epochs"),
    )
    csv = {"per_class.csv": per_class_csv(figures), "confusion_matrix.csv": confusion_csv(confusion)}
    over = over_seeds(len(scores))
    sections = [
        _confusion_section(confusion, over.partition(",")[0]),
        _class_section(figures, over),
        _reliability_section(reliability),
        *(() if retrained.robustness is None else (_robustness_section(retrained.robustness),)),
        *_image_sections(retrained),
    ]
    title = "The retrained model" if trial is not None else "The trained model"
    return Content(facts, found, Section(title, sections), csv)


def _confusion_section(confusion: ConfusionInfo, over: str) -> Section:
    text = f"Test images by true and predicted class, {over}: counts, and the share of the true class."
    plot = plot_of("confusion_matrix.png", "confusion matrix", model_figures.confusion_figure, confusion)
    return Section("Confusion matrix", (text, plot))


def _class_section(figures: tuple[ClassFigures, ...], over: str) -> Section:
    plot = plot_of("per_class.png", "recall and F1 by class", model_figures.per_class_figure, figures)
    table = class_table({c.name: c for c in figures})
    return Section("Per class", (f"Recall and F1 on the test set, {over}.", plot, table))


def _reliability_section(reliability: ReliabilityInfo) -> Section:
    text = (
        f"Accuracy against confidence in {len(reliability.pooled.count)} bins, predictions of all seeds "
        "together. The expected calibration error is the gap, weighted by the predictions in each bin. A "
        f"bin of fewer than {model_info.MIN_PER_BIN} images (dotted) says little."
    )
    plot = plot_of("reliability.png", "reliability diagram", model_figures.reliability_figure, reliability)
    return Section("Reliability", (text, plot))


def _robustness_section(info: RobustnessInfo) -> Section:
    header = ("corruption, by strength", *(str(i) for i in range(1, 1 + max(map(len, info.accuracies.values())))))
    rows = [(name, *(percent(v, 1) for v in values)) for name, values in info.accuracies.items()]
    text = (
        f"Accuracy of the model on changed test images, {percent(info.clean, 1)} on unchanged ones. "
        "By class: `model/robustness.csv`."
    )
    draw = model_figures.robustness_figure
    plot = plot_of("robustness.png", "accuracy over strength of corruption", draw, info)
    return Section("Robustness", (text, plot, Table(header, rows)))


def _image_sections(retrained: Retrained) -> list[Section]:
    scores_NK, test, seed = retrained.scores[0], retrained.test, retrained.metrics["seeds"][0]
    names = retrained.class_names
    wrong = model_info.confidently_wrong(scores_NK, test.images_NHW, test.labels_N, names, N_WRONG)
    samples = model_info.samples(scores_NK, test.images_NHW, test.labels_N, names, SAMPLES_PER_CLASS)
    counts = model_info.class_counts(retrained.train.labels_N, names, retrained.keep)
    sections = []
    if wrong:
        text = f"The test images that the model (seed {seed}) classifies wrongly and is surest of."
        sections.append(_images_section("Most confidently wrong", text, "wrong.png", wrong))
    text = f"The first {SAMPLES_PER_CLASS} test images of each class, none picked by hand; the model of seed {seed}."
    sections.append(_images_section("Sample predictions", text, "samples.png", samples))
    if not counts.is_even:
        plot = plot_of("classes.png", "training images by class", model_figures.classes_figure, counts)
        text = f"Training images of each class of {retrained.data_set}."
        sections.append(Section("Class distribution", (text, plot)))
    return sections


def _images_section(title: str, text: str, file: str, images: Sequence[PredictedImage]) -> Section:
    alt = f"{file.removesuffix('.png').removesuffix('s')} predictions"
    plot = plot_of(file, alt, model_figures.images_figure, images, COLUMNS)
    return Section(title, (text, replace(plot, is_photo=True)))


def classes(figures: Sequence[ClassFigures], confusion: ConfusionInfo) -> list[Finding]:
    """Return the weakest classes, those without test images, and the most frequent error."""
    true, predicted, share = confusion.most_confused()
    text = classes_text({c.name: None if c.recall is None else c.recall.mean for c in figures})
    if share:
        text += f" Most frequent mistake: {percent(share, 1)} of class {true} are taken for {predicted}."
    return [Finding(text)]


def calibrated(info: ReliabilityInfo) -> list[Finding]:
    """Return whether the model's confidence matches its accuracy."""
    pooled = info.pooled
    filled = pooled.count > 0
    gap = float(((pooled.confidence - pooled.accuracy)[filled] * pooled.count[filled]).sum() / pooled.count.sum())
    way = "more" if gap > 0 else "less"
    return [
        Finding(
            f"Confidence is off by {points(info.ece.mean)} on average (expected calibration error); "
            f"overall the model is {points(gap)} {way} sure than right."
        )
    ]


def robust(info: RobustnessInfo | None) -> list[Finding]:
    """Return the most and the least harmful corruption."""
    if info is None:
        return []
    last = {name: values[-1] for name, values in info.accuracies.items()}
    worst, mildest = min(last, key=last.__getitem__), max(last, key=last.__getitem__)
    return [
        Finding(
            f"Robustness: from {percent(info.clean, 1)} on unchanged test images, accuracy falls to "
            f"{percent(last[worst], 1)} under the strongest {worst} and to {percent(last[mildest], 1)} under the "
            f"strongest {mildest}."
        )
    ]


def per_class_csv(figures: Sequence[ClassFigures]) -> str:
    """Return precision, recall and F1 of each class: mean, standard deviation, 95% interval over seeds."""
    columns = [
        f"{name}{part}" for name in ("precision", "recall", "f1") for part in ("", "_std", "_ci_low", "_ci_high")
    ]
    return _csv(
        ["class", *columns, "support"],
        ([c.name, *_cells(c.precision), *_cells(c.recall), *_cells(c.f1), c.support] for c in figures),
    )


def confusion_csv(info: ConfusionInfo) -> str:
    """Return the mean counts; rows are true classes, columns predicted classes."""
    return _csv(
        ["true", *info.names], ([name, *map(float, row)] for name, row in zip(info.names, info.counts_KK, strict=True))
    )


def _cells(figure: SeedStats | None) -> list[float | None]:
    if figure is None:
        return [None] * 4
    low, high = figure.ci95 or (None, None)
    return [figure.mean, figure.std, low, high]


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()
