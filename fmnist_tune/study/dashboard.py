"""A study's page in optuna-dashboard: a note that sums it up, with its plots, and the files behind them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna_dashboard import get_note, save_note
from optuna_dashboard.artifact import get_artifact_path

from fmnist_tune.config.schema import ARTIFACTS
from fmnist_tune.errors import UserError
from fmnist_tune.escaping import as_code, as_markdown, in_table
from fmnist_tune.evaluation import SeedStats, classes_text, recalls_of, share_text
from fmnist_tune.study.folder import files_elsewhere
from fmnist_tune.study.layout import make_folder
from fmnist_tune.study.lock import DriverLock
from fmnist_tune.study.patience import patient
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.render import standing_text
from fmnist_tune.study.retraining import retraining_status
from fmnist_tune.study.summary import STATE_NAMES, Summary, on_screen, summarize, uses_text
from fmnist_tune.study.trial_data import facts_of
from fmnist_tune.tasks.task import Task
from fmnist_tune.units import percent

FIRST_FIGURE = "confusion_matrix.png"
# Everything above this line of a note is ours, everything below it is the reader's.
OWN_NOTES = "*fmnist-tune replaces what stands above this line; what you write below it stays.*"


def artifact_store(studies_dir: Path) -> FileSystemArtifactStore:
    """Return the store of the files that the dashboard shows, `artifacts` in the studies folder.

    Raises:
        UserError: the folder cannot be written to.
    """
    folder = studies_dir / ARTIFACTS
    make_folder(folder)
    return FileSystemArtifactStore(folder)


def publish(record: StudyRecord, figures: Sequence[Path], csvs: Sequence[Path] = ()) -> None:
    """Show a study's summary and files in the dashboard, instead of what was published before.

    What has not changed is not written again. Artifacts of other names and what a reader has added to the note stay.

    Args:
        record: the study.
        figures: PNG files, for the note too: the confusion matrix first, the others by name.
        csvs: tables to download.

    Raises:
        UserError: the study is being searched or trained, or the artifacts' folder cannot be written to.
    """
    if record.is_driven:
        raise UserError(f"study {record.paths.name} is being searched or trained; its driver alone writes it")
    with DriverLock(record.paths) as lock:
        if files_elsewhere(record) is None:
            record.bind_folder(lock.folder_id)  # a copied folder has a new one
        record = record.snapshot()
        store = artifact_store(record.paths.studies_dir)
        ids = _upload(record, store, [*figures, *csvs])
        ordered = sorted(figures, key=lambda figure: (figure.name != FIRST_FIGURE, figure.name))
        plots = {figure: get_artifact_path(record.optuna, ids[figure.name]) for figure in ordered}
        before: str = get_note(record.optuna)
        _, ours, own = before.partition(OWN_NOTES)
        note = f"{_summary(record)}{_plots(record, plots)}\n---\n\n{OWN_NOTES}" + (own if ours else f"\n\n{before}")
        if note.rstrip() != before.rstrip():
            save_note(record.optuna, note)


def publish_report(record: StudyRecord) -> None:
    """Publish a study with the plots and tables of its latest report; errors as `publish`."""
    report = record.paths.folder / "report"
    publish(record, sorted(report.glob("*.png")), sorted(report.glob("*.csv")))


def has_note(record: StudyRecord) -> bool:
    """Return whether the dashboard shows a note of a study."""
    return bool(get_note(record.optuna))


def _upload(record: StudyRecord, store: FileSystemArtifactStore, files: Iterable[Path]) -> dict[str, str]:
    """Bring a study's artifacts up to date with files; returns each file name's artifact.

    A changed file keeps its artifact: an attribute of a study cannot be deleted, and the null that the dashboard leaves
    in place of a deleted artifact is more than `optuna.artifacts.get_all_artifact_meta` can read.
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
    """Return the artifact of each file name that the system attributes of a study or a trial name."""
    ids: dict[str, str] = {}
    for key, value in system_attrs.items():
        if key.startswith("artifacts:"):
            with suppress(ValueError, TypeError, KeyError):  # null after a deletion; others may write anything there
                meta = json.loads(value)
                name, artifact_id = meta["filename"], meta["artifact_id"]
                if isinstance(name, str) and re.fullmatch(r"[\w-]+", artifact_id):
                    ids[name] = artifact_id
    return ids


def _mimetype(file: Path) -> str:
    # Not from mimetypes, which asks the machine's own tables.
    return "image/png" if file.suffix == ".png" else "text/csv"


def _stored(store: FileSystemArtifactStore, artifact_id: str) -> bytes | None:
    try:
        with store.open_reader(artifact_id) as file:
            return file.read()
    except ArtifactNotFound:
        return None


def _summary(record: StudyRecord) -> str:
    """Return a study's summary in Markdown; nobody drives the study."""
    summary = summarize(record, is_driven=False)
    counts = summary.counts
    states = ", ".join(f"{counts[name]} {on_screen(name)}" for name in STATE_NAMES.values() if counts[name])
    metrics = record.retrained
    standing = standing_text(summary, retraining_status(record, is_driven=False))
    blocks = [f"# {as_markdown(summary.study)}"]
    if summary.is_recipe:
        blocks.append(f"A recipe; {as_markdown(standing or 'trained without a search')}.")
    else:
        blocks.append(f"{counts['total']} of {summary.n_target} trials: {states or 'none yet'}.")
        blocks += [f"- {n} failed: {as_code(reason)}" for reason, n in summary.failures.items()]
        blocks += _best(summary)
        blocks += [f"{as_markdown(standing[0].upper() + standing[1:])}."] if standing else []
    if metrics is not None:
        blocks += _test(summary.task, metrics, summary.test_uses)
    commands = _next_commands(record, has_model=metrics is not None)
    return "\n\n".join([*blocks, "## Next", "```\n" + "\n".join(commands) + "\n```\n"])


def _best(summary: Summary) -> list[str]:
    best, importances = summary.best, summary.importances
    if best is None:
        return ["No trial has been trained to its end yet, so there is no best trial."]
    rows = ["| parameter | value | importance |", "| --- | --- | ---: |"]
    if importances is None:
        rows = ["| parameter | value |", "| --- | --- |"]
    for path, value in summary.best_values.items():
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        share = "" if importances is None else f" {share_text(importances.shares.get(path), 0)} |"
        rows.append(f"| {in_table(as_code(path))} | {in_table(as_code(shown))} |{share}")
    known, facts = facts_of(best), [f"{len(best.intermediate_values)} epochs"]
    if "params" in known:
        facts.append(f"{known['params']:,} parameters")
    if "duration_s" in known:
        facts.append(f"{known['duration_s']:.0f} s")
    if summary.is_best_initial:
        facts.append("initial point")
    text = summary.objective.text(best.value or 0.0)
    sentence = summary.objective.sentence(best.value or 0.0).replace(text, f"**{text}**")
    blocks = [f"## Best trial: {best.number}", f"{sentence[0].upper()}{sentence[1:]} ({', '.join(facts)})."]
    if rows[2:]:
        blocks.append("\n".join(rows))
    if importances:
        blocks.append(
            f"Importance: {as_markdown(importances.meaning)}. The first page shows the same figures where "
            "`fmnist-tune dashboard` runs it; optuna-dashboard on its own compares the complete trials alone, by their "
            "values."
        )
    return blocks + [f"- Edge: {as_markdown(line)}" for line in summary.edges]


def _test(task: Task, metrics: dict[str, Any], uses: Sequence[Mapping[str, Any]]) -> list[str]:
    if "per_class" not in metrics:
        who = "The recipe" if metrics["trial"] is None else f"Trial {metrics['trial']}"
        return [f"{who} retrained: {task.result_name} **{task.spread_text(metrics[task.result_key])}**."]
    accuracy, trial = metrics["test_accuracy"], metrics["trial"]
    result = f"Test accuracy **{percent(accuracy['mean'])}** ({SeedStats.from_json(accuracy).certainty()})"
    if metrics["val_accuracy"] is not None:
        result += f"; the search had promised {percent(metrics['val_accuracy'])} (validation)"
    return [
        f"## Test of {'the recipe' if trial is None else f'trial {trial}'}, retrained on train + val",
        f"{result}.",
        as_markdown(classes_text(recalls_of(metrics["per_class"]))),
        as_markdown(uses_text(uses)),
    ]


def _next_commands(record: StudyRecord, *, has_model: bool) -> list[str]:
    if record.is_recipe:
        return [record.paths.command("report" if has_model else "retrain")]
    commands = []
    if len(record.trials) < record.n_target or any(not t.state.is_finished() for t in record.trials):
        commands.append(record.paths.command("resume"))
    if record.best is not None and not has_model:
        commands.append(record.paths.command("retrain"))
    return [*commands, record.paths.command("report")]


def _plots(record: StudyRecord, plots: dict[Path, str]) -> str:
    """Return the plots in Markdown, and whether they still show every trial."""
    if not plots:
        return ""
    drawn = datetime.fromtimestamp(min(plot.stat().st_mtime for plot in plots))
    n_later = sum(t.datetime_complete is not None and t.datetime_complete > drawn for t in record.trials)
    later = f"\nTrials that have ended since these were drawn: {n_later}.\n" if n_later else ""
    images = [f"\n![{plot.stem.replace('_', ' ')}]({url})\n" for plot, url in plots.items()]
    return f"\n## Plots\n{later}{''.join(images)}"
