"""The report's half about the retrained model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fmnist_tune.evaluation import MIN_FOR_INTERVAL, SeedStats
from fmnist_tune.report import findings, model_figures, model_info, tables
from fmnist_tune.report.page import Content, Fact, Part, Plot, Section, Table
from fmnist_tune.report.retrained import Retrained, load_retrained
from fmnist_tune.report.task_report import TaskReport
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.summary import Summary
from fmnist_tune.units import in_words, percent

N_WRONG, SAMPLES_PER_CLASS = 24, 2
COLUMNS = 4  # of images with what the model says
INTERVAL = ", with the 95 % interval of the mean (Student's t)"
AROUND_MEAN = {1: "", 2: ", with the values of both"}  # by the number of seeds; INTERVAL of more


def images_report(
    record: StudyRecord, summary: Summary, data_dir: Path | None, log: Callable[[str], None]
) -> TaskReport:
    """Return what the report says of a retrained classifier of images; the test set is opened if there is one."""
    retrained = load_retrained(record, data_dir, log)
    if retrained is None:
        return TaskReport()
    classes = model_info.class_counts(retrained.train.labels_N, retrained.class_names, {})
    n_classes = in_words(len(classes.names))
    even = f"The training files have {classes.counts[0]:,} images of each of the {n_classes} classes."
    return TaskReport(
        content=model_content(retrained, summary),
        metrics=retrained.metrics,
        train_md5=retrained.train.md5,
        test_md5=retrained.test.md5,
        about_data=(even,) if classes.is_even else (),
    )


def model_content(retrained: Retrained, summary: Summary) -> Content:
    """Return what the report says of a retrained model; `summary` is of its study."""
    metrics, scores, labels_N = retrained.metrics, retrained.scores, retrained.test.labels_N
    test = model_info.accuracy_over_seeds(scores, labels_N)
    confusion = model_info.confusion(scores, labels_N, retrained.class_names)
    figures = model_info.class_figures(scores, labels_N, retrained.class_names)
    reliability = model_info.reliability(scores, labels_N)
    best = None if summary.best is None else summary.best.number
    n_trials = summary.counts["total"]
    found = (
        *findings.promise(
            test, val=metrics["val_accuracy"], trial=metrics["trial"], best=best, n_trials=n_trials, paths=summary.paths
        ),
        *findings.classes(figures, confusion),
        *findings.calibrated(reliability),
        *findings.robust(retrained.robustness),
    )
    n_seeds = len(scores)
    facts = (
        Fact("Test accuracy", percent(test.mean), test.certainty()),
        Fact(
            "Calibration error",
            percent(reliability.ece.mean),
            f"expected (ECE){', mean over seeds' if n_seeds > 1 else ''}",
        ),
        Fact("Model", f"{metrics['params']:,}", f"parameters, {metrics['epochs']} epochs"),
    )
    csv = {"per_class.csv": tables.per_class_csv(figures), "confusion_matrix.csv": tables.confusion_csv(confusion)}
    title = "The retrained model" if metrics["trial"] is not None else "The trained model"
    part = Part(title, _sections(retrained, figures, confusion, reliability))
    return Content(facts, found, part, csv)


def _sections(
    retrained: Retrained,
    figures: tuple[model_info.ClassFigures, ...],
    confusion: model_info.ConfusionInfo,
    reliability: model_info.ReliabilityInfo,
) -> tuple[Section, ...]:
    scores, test, names = retrained.scores, retrained.test, retrained.class_names
    n_seeds = len(scores)
    over = f"mean over {n_seeds} seeds" if n_seeds > 1 else "of one seed"
    first = retrained.metrics["seeds"][0]
    wrong = model_info.confidently_wrong(scores[0], test.images_NHW, test.labels_N, names, N_WRONG)
    samples = model_info.samples(scores[0], test.images_NHW, test.labels_N, names, SAMPLES_PER_CLASS)
    classes = model_info.class_counts(retrained.train.labels_N, names, retrained.keep)
    sections = [
        Section(
            "Confusion matrix",
            (f"Test images by true and predicted class, {over}: counts, and the share of the true class.",),
            Plot.of("confusion_matrix.png", "confusion matrix", model_figures.confusion_figure, confusion),
        ),
        Section(
            "Per class",
            (f"Recall and F1 on the test set, {over}{AROUND_MEAN.get(n_seeds, INTERVAL)}.",),
            Plot.of("per_class.png", "recall and F1 by class", model_figures.per_class_figure, figures),
            class_table(figures),
        ),
        Section(
            "Reliability",
            (
                f"Accuracy against confidence in {len(reliability.pooled.count)} bins, predictions of all seeds "
                "together. The expected calibration error is the gap, weighted by the predictions in each bin. A "
                f"bin of fewer than {model_info.MIN_PER_BIN} images (dotted) says little.",
            ),
            Plot.of("reliability.png", "reliability diagram", model_figures.reliability_figure, reliability),
        ),
    ]
    if retrained.robustness is not None:
        sections.append(_robustness_section(retrained.robustness))
    if wrong:
        text = f"The test images that the model (seed {first}) classifies wrongly and is surest of."
        plot = Plot.of("wrong.png", "wrong predictions", model_figures.pictures_figure, wrong, COLUMNS)
        sections.append(Section("Most confidently wrong", (text,), replace(plot, is_photo=True)))
    text = f"The first {SAMPLES_PER_CLASS} test images of each class, none picked by hand; the model of seed {first}."
    plot = Plot.of("samples.png", "sample predictions", model_figures.pictures_figure, samples, COLUMNS)
    sections.append(Section("Sample predictions", (text,), replace(plot, is_photo=True)))
    if not classes.is_even:
        plot = Plot.of("classes.png", "training images by class", model_figures.classes_figure, classes)
        sections.append(Section("Class distribution", ("Images of each class in the training files.",), plot))
    return tuple(sections)


def class_table(figures: tuple[model_info.ClassFigures, ...]) -> Table:
    """Return precision, recall and F1 of each class in percent, with what is known of their spread over seeds."""
    rows = tuple((c.name, *(_cell(s) for s in (c.precision, c.recall, c.f1)), f"{c.support:,}") for c in figures)
    return Table(("class", "precision, %", "recall, %", "F1, %", "support"), rows)


def _cell(figure: SeedStats | None) -> str:
    """Return a share in percent with half its interval, or with both values of two seeds."""
    if figure is None:
        return "-"
    mean = f"{100 * figure.mean:.1f}"
    if figure.extent is None:
        return mean
    low, high = figure.extent
    if len(figure.values) < MIN_FOR_INTERVAL:
        return f"{mean} ({100 * low:.1f}, {100 * high:.1f})"
    return f"{mean} ± {100 * max(figure.mean - low, high - figure.mean):.1f}"  # one that ends at 100 % is wider below


def _robustness_section(info: model_info.RobustnessInfo) -> Section:
    header = ("corruption, by strength", *(str(i) for i in range(1, 1 + max(map(len, info.accuracies.values())))))
    rows = tuple((name, *(percent(v, 1) for v in values)) for name, values in info.accuracies.items())
    return Section(
        "Robustness",
        (
            f"Accuracy of the model on changed test images, {percent(info.clean, 1)} on unchanged ones. "
            "By class: `model/robustness.csv`.",
        ),
        Plot.of("robustness.png", "accuracy over strength of corruption", model_figures.robustness_figure, info),
        Table(header, rows),
    )
