"""The report's part on the origin of its figures."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from fmnist_tune.config import dump_yaml
from fmnist_tune.document.blocks import Code, Section, Table
from fmnist_tune.report.task_report import TaskReport
from fmnist_tune.study.record import StudyRecord


def origin_part(record: StudyRecord, part: TaskReport, uses: Sequence[Mapping[str, Any]]) -> Section:
    """Return how to reproduce the study, its data, and the uses of the test set."""
    name = record.paths.name
    # without --studies-dir: these are for any machine, starting from the file below
    extension = f" --trials {record.quota.n_target}" if record.quota.is_extended else ""
    commands = [f"fmnist-tune search {name}.yaml{extension}"] if not record.is_recipe else []
    if part.metrics is not None:
        n_seeds = len(part.metrics["seeds"])
        trial = part.metrics["trial"]
        commands.append(
            f"fmnist-tune train {name}.yaml --seeds {n_seeds}"
            if record.is_recipe
            else f"fmnist-tune retrain {name} --trial {trial} --seeds {n_seeds}"
        )
    commands.append(f"fmnist-tune report {name}")
    versions = ", ".join(f"{package} {version(package)}" for package in ("fmnist-tune", "torch", "optuna", "ray"))
    text = [f"With {versions} on Python {platform.python_version()} (as installed when this was written)."]
    if not record.is_recipe:
        text.append(
            "With one worker the same seed gives the same trials; with several, and with a timeout, which trial sees "
            "which results depends on their speed."
        )
    sections = [
        Section("Reproduce", (*text, Code("\n".join(commands)))),
        Section("Search space", (f"`{name}.yaml`, as it is stored in the study.", Code(dump_yaml(record.space.tree)))),
    ]
    data = _data_table(record, part)
    if data.rows:
        what = "arrays" if "data_set" in (record.optuna.user_attrs.get("data") or {}) else "uncompressed files"
        sections.append(Section("Data", (f"MD5 of the {what}.", *part.about_data, data)))
    if uses:
        rows = [
            (
                str(u["at"]),
                str(u["command"]),
                "recipe" if u["trial"] is None else str(u["trial"]),
                ", ".join(map(str, u["seeds"])),
            )
            for u in uses
        ]
        sections.append(Section("Uses of the test set", (Table(("at", "command", "trial", "seeds"), rows),)))
    return Section("Where this comes from", sections)


def _data_table(record: StudyRecord, part: TaskReport) -> Table:
    data = record.optuna.user_attrs.get("data") or {}
    rows = [
        (label, str(data[key]))
        for label, key in (("training images", "train_images_md5"), ("training labels", "train_labels_md5"))
        if key in data
    ]
    if part.train_md5 and not rows:
        rows = list(zip(("training images", "training labels"), part.train_md5, strict=True))
    if part.test_md5:
        rows += zip(("test images", "test labels"), part.test_md5, strict=True)
    rows += [(f"split, {key}", str(value)) for key, value in (data.get("split") or {}).items()]
    return Table(("", ""), rows)
