"""Writing a study's report."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from fmnist_tune.document.blocks import Note, Section
from fmnist_tune.document.page import to_html, to_markdown
from fmnist_tune.errors import UserError
from fmnist_tune.report.decisions_part import DECISION_FILES
from fmnist_tune.report.origin_part import origin_part
from fmnist_tune.report.study_part import study_content
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.results import openings
from fmnist_tune.study.summary import summarize
from fmnist_tune.tasks.task import title_of

# Files that a report may have besides report.html and its task's files; those not in this report are deleted, so that
# they are not taken for part of it.
FILES = (
    "report.md", "history.png", "importances.png", "slices.png", "curves.png", "parallel.png", "trials.csv",
    "curves.csv",
)  # fmt: skip


@dataclass(frozen=True)
class ReportPaths:
    """A report's files: report.html, and all files, with that one first."""

    html: Path
    files: tuple[Path, ...]


def write_report(record: StudyRecord, data_dir: Path | None, *, log: Callable[[str], None]) -> ReportPaths:
    """Write a study's report into its folder; the test set is opened only if there is a retrained model.

    Args:
        record: the study.
        data_dir: the user's copy of the data set.
        log: receives progress messages.

    Raises:
        UserError: the study has nothing to report, a file of its model is missing, or the folder is not writable.
    """
    record = record.snapshot()
    name = record.paths.name
    summary = summarize(record, is_running=record.is_running)
    if not record.is_recipe and not summary.counts["total"]:
        raise UserError(f"study {name!r} has no trials yet; `{record.paths.command('resume')}` runs it")
    task = record.space.task
    part = task.report(record, summary, data_dir, log)
    if record.is_recipe and part.content is None and record.retraining.result is None:
        raise UserError(
            f"study {name!r}: a recipe without a trained model; `{record.paths.command('retrain')}` makes it"
        )
    halves = [] if part.content is None else [part.content]
    if not record.is_recipe:
        halves.append(study_content(record, summary, has_model=part.content is not None or not task.has_test))
    uses = record.retraining.test_uses
    written = f"Written {time.strftime('%Y-%m-%d %H:%M')} by fmnist-tune {version('fmnist-tune')}"
    page = Section(
        f"{name}: {'recipe' if record.is_recipe else 'hyperparameter search'} on {title_of(record.space)}",
        (
            Note(f"{written} from `{record.paths.folder}`."),
            *(fact for half in reversed(halves) for fact in half.facts),
            *(finding for half in halves for finding in half.findings),
            *(openings(uses) if task.has_test else ()),
            *(half.section for half in halves),
            origin_part(record, part, uses),
        ),
    )
    texts = {"report.md": to_markdown(page), **{file: text for half in halves for file, text in half.csv.items()}}
    contents = {plot.file: plot.png for plot in page.plots if not plot.error}
    for plot in page.plots:
        if plot.error:
            log(f"warning: {plot.file} could not be drawn: {plot.error}")
    contents |= {file: text.encode() for file, text in texts.items()}
    contents["report.html"] = to_html(page).encode()  # last: when it appears, the other files exist
    return _write(record.paths.folder / "report", contents, (*FILES, *DECISION_FILES, *task.report_files))


def _write(folder: Path, contents: Mapping[str, bytes], known: Sequence[str]) -> ReportPaths:
    """Write each file atomically; delete all other `known` files."""
    new = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        for file, content in contents.items():
            (new / file).write_bytes(content)
        for file in contents:
            os.replace(new / file, folder / file)
        for file in known:
            if file not in contents:
                (folder / file).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to: {error.strerror}") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
    html = folder / "report.html"
    return ReportPaths(html, (html, *(folder / file for file in contents if file != "report.html")))
