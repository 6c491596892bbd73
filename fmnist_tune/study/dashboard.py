"""A study's page in optuna-dashboard: a note with a summary and plots, and the files as artifacts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna_dashboard import get_note, save_note
from optuna_dashboard.artifact import get_artifact_path

from fmnist_tune.config.schema import ARTIFACTS
from fmnist_tune.document.blocks import Plot, Section
from fmnist_tune.document.page import to_markdown
from fmnist_tune.errors import UserError
from fmnist_tune.study.findings import next_commands, study_section
from fmnist_tune.study.folder import files_elsewhere
from fmnist_tune.study.layout import make_folder
from fmnist_tune.study.lock import DriverLock
from fmnist_tune.study.patience import patient
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.retraining import retraining_status
from fmnist_tune.study.summary import summarize

FIRST_FIGURE = "confusion_matrix.png"
ELSEWHERE = (
    "The first page shows the same importances where `fmnist-tune dashboard` runs it; optuna-dashboard on its own "
    "compares the complete trials alone, by their values."
)
# We own the note above this line; the reader owns it below.
OWN_NOTES = "*fmnist-tune replaces what stands above this line; what you write below it stays.*"


def artifact_store(studies_dir: Path) -> FileSystemArtifactStore:
    """Return the dashboard's artifact store, `artifacts` in the studies folder.

    Raises:
        UserError: the folder is not writable.
    """
    folder = studies_dir / ARTIFACTS
    make_folder(folder)
    return FileSystemArtifactStore(folder)


def publish(record: StudyRecord, figures: Sequence[Path], csvs: Sequence[Path] = ()) -> None:
    """Publish a study's summary and files in the dashboard, replacing earlier ones.

    Unchanged files are not written again. Artifacts of other names and a reader's additions to the note stay.

    Args:
        record: the study.
        figures: PNG files, for the note too: the confusion matrix first, the others by name.
        csvs: tables to download.

    Raises:
        UserError: the study is being searched or trained, or the artifact folder is not writable.
    """
    if record.is_running:
        raise UserError(f"study {record.paths.name} is being searched or trained; its driver alone writes it")
    with DriverLock(record.paths) as lock:
        if files_elsewhere(record) is None:
            record.bind_folder(lock.folder_id)  # a copied folder has a new one
        _publish(record.snapshot(), figures, csvs)


def publish_report(record: StudyRecord) -> None:
    """Publish a study with the plots and tables of its latest report; errors as `publish`."""
    publish(record, *_of_report(record))


def republish(record: StudyRecord) -> None:
    """Do as `publish_report`, for the holder of the study's lock.

    Raises:
        UserError: the artifacts' folder cannot be written to.
    """
    _publish(record.snapshot(), *_of_report(record))


def _of_report(record: StudyRecord) -> tuple[list[Path], list[Path]]:
    report = record.paths.folder / "report"
    return sorted(report.glob("*.png")), sorted(report.glob("*.csv"))


def _publish(record: StudyRecord, figures: Sequence[Path], csvs: Sequence[Path]) -> None:
    store = artifact_store(record.paths.studies_dir)
    ids = _upload(record, store, [*figures, *csvs])
    ordered = sorted(figures, key=lambda figure: (figure.name != FIRST_FIGURE, figure.name))
    plots = {figure: get_artifact_path(record.optuna, ids[figure.name]) for figure in ordered}
    before: str = get_note(record.optuna)
    _, ours, own = before.partition(OWN_NOTES)
    note = f"{_note(record, plots)}\n---\n\n{OWN_NOTES}" + (own if ours else f"\n\n{before}")
    if note.rstrip() != before.rstrip():
        save_note(record.optuna, note)


def has_note(record: StudyRecord) -> bool:
    """Return whether a study has a note in the dashboard."""
    return bool(get_note(record.optuna))


def _upload(record: StudyRecord, store: FileSystemArtifactStore, files: Iterable[Path]) -> dict[str, str]:
    """Update a study's artifacts from files; return the artifact id by file name.

    A changed file keeps its artifact id: study attributes cannot be deleted, and the null that the dashboard leaves for
    a deleted artifact breaks `optuna.artifacts.get_all_artifact_meta`.
    """
    storage = patient(record.storage)
    ids = artifact_ids(storage.get_study_system_attrs(storage.get_study_id_from_name(record.paths.name)))
    for file in files:
        if file.name not in ids:
            ids[file.name] = upload_artifact(
                study_or_trial=record.optuna, file_path=str(file), artifact_store=store, mimetype=_mimetype(file)
            )
        elif _stored(store, ids[file.name]) != file.read_bytes():
            with suppress(ArtifactNotFound):
                store.remove(ids[file.name])  # it may be a link
            with file.open("rb") as content:
                store.write(ids[file.name], content)
    return ids


def artifact_ids(system_attrs: Mapping[str, Any]) -> dict[str, str]:
    """Return the artifact ids by file name, from the system attributes of a study or a trial."""
    ids: dict[str, str] = {}
    for key, value in system_attrs.items():
        if key.startswith("artifacts:"):
            with suppress(ValueError, TypeError, KeyError):  # null after a deletion; other programs may write anything
                meta = json.loads(value)
                name, artifact_id = meta["filename"], meta["artifact_id"]
                if isinstance(name, str) and re.fullmatch(r"[\w-]+", artifact_id):
                    ids[name] = artifact_id
    return ids


def _mimetype(file: Path) -> str:
    # Not from mimetypes, which depends on the machine's tables.
    return "image/png" if file.suffix == ".png" else "text/csv"


def _stored(store: FileSystemArtifactStore, artifact_id: str) -> bytes | None:
    try:
        with store.open_reader(artifact_id) as file:
            return file.read()
    except ArtifactNotFound:
        return None


def _note(record: StudyRecord, plots: Mapping[Path, str]) -> str:
    """Return a study's summary and plots in Markdown.

    Args:
        record: the study, which no process drives.
        plots: URL of each PNG file.
    """
    summary = summarize(record, is_running=False)
    document = study_section(summary, retraining_status(record, is_running=False), next_commands(record))
    blocks = list(document.blocks)
    if plots:
        drawn = datetime.fromtimestamp(min(plot.stat().st_mtime for plot in plots))
        n_later = sum(t.datetime_complete is not None and t.datetime_complete > drawn for t in record.trials)
        later = [f"trials that have ended since these were drawn: {n_later}"] if n_later else []
        images = [Plot(url, plot.stem.replace("_", " ")) for plot, url in plots.items()]
        blocks.append(Section("plots", (*later, *images)))
    if summary.importances is not None:
        blocks.append(Section("importances elsewhere", (ELSEWHERE,)))
    return to_markdown(replace(document, blocks=blocks))
