"""A report from the study to the files."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from fmnist_tune.config.modular import ModularConfig
from fmnist_tune.config.schema import TrialConfig
from fmnist_tune.document.blocks import Note, Section
from fmnist_tune.document.html import to_html
from fmnist_tune.document.markdown import to_markdown
from fmnist_tune.errors import UserError
from fmnist_tune.report.grokking_part import GROKKING, grokking_content
from fmnist_tune.report.model_part import model_content
from fmnist_tune.report.origin_part import origin_part
from fmnist_tune.report.retrained import load_retrained
from fmnist_tune.report.study_part import study_content
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.results import openings
from fmnist_tune.study.summary import summarize

# What a report may hold besides report.html; those that this one lacks are deleted, lest they be taken for its own.
FILES = (
    "report.md", "history.png", "importances.png", "slices.png", "curves.png", "parallel.png", "confusion_matrix.png",
    "per_class.png", "reliability.png", "wrong.png", "samples.png", "classes.png", "robustness.png", "trials.csv",
    "curves.csv", "per_class.csv", "confusion_matrix.csv",
)  # fmt: skip
TASKS = {TrialConfig.task: "Fashion-MNIST", ModularConfig.task: "modular addition"}


@dataclass(frozen=True)
class ReportPaths:
    """Where a report is: report.html, and every file of it, that one first."""

    html: Path
    files: tuple[Path, ...]


def write_report(record: StudyRecord, data_dir: Path | None, *, log: Callable[[str], None]) -> ReportPaths:
    """Write a study's report into its folder; the test set is opened only if there is a retrained model.

    Args:
        record: the study.
        data_dir: the user's copy of the data set.
        log: gets a line for people about what is being done.

    Raises:
        UserError: the study has nothing to report, a file of its model is missing, or the folder is not writable.
    """
    record = record.snapshot()
    name = record.paths.name
    summary = summarize(record, is_running=record.is_running)
    if not record.is_recipe and not summary.counts["total"]:
        raise UserError(f"study {name!r} has no trials yet; `{record.paths.command('resume')}` runs it")
    is_pairs = record.space.settings.task == ModularConfig.task
    retrained = None if is_pairs else load_retrained(record, data_dir, log)
    if record.is_recipe and retrained is None and record.retrained is None:
        raise UserError(
            f"study {name!r}: a recipe without a trained model; `{record.paths.command('retrain')}` makes it"
        )
    halves = []
    if retrained is not None:
        halves.append(model_content(retrained, summary))
    grokking = grokking_content(record) if is_pairs else None
    if grokking is not None:
        halves.append(grokking)
    if not record.is_recipe:
        halves.append(study_content(record, summary, has_model=retrained is not None or is_pairs))
    uses = record.test_uses
    written = f"Written {time.strftime('%Y-%m-%d %H:%M')} by fmnist-tune {version('fmnist-tune')}"
    page = Section(
        f"{name}: {'recipe' if record.is_recipe else 'hyperparameter search'} on {TASKS[record.space.settings.task]}",
        (
            Note(f"{written} from `{record.paths.folder}`."),
            *(fact for half in reversed(halves) for fact in half.facts),
            *(finding for half in halves for finding in half.findings),
            *(() if is_pairs else openings(uses)),
            *(half.section for half in halves),
            origin_part(record, retrained, uses),
        ),
    )
    texts = {"report.md": to_markdown(page), **{file: text for half in halves for file, text in half.csv.items()}}
    contents = {plot.file: plot.png for plot in page.plots if not plot.error}
    for plot in page.plots:
        if plot.error:
            log(f"warning: {plot.file} could not be drawn: {plot.error}")
    contents |= {file: text.encode() for file, text in texts.items()}
    contents["report.html"] = to_html(page).encode()  # last: whoever sees it sees the rest
    return _write(record.paths.folder / "report", contents)


def _write(folder: Path, contents: Mapping[str, bytes]) -> ReportPaths:
    """Write files so that a crash leaves each one whole, old or new."""
    new = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        for file, content in contents.items():
            (new / file).write_bytes(content)
        for file in contents:
            os.replace(new / file, folder / file)
        for file in (*FILES, GROKKING):
            if file not in contents:
                (folder / file).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to: {error.strerror}") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
    html = folder / "report.html"
    return ReportPaths(html, (html, *(folder / file for file in contents if file != "report.html")))
