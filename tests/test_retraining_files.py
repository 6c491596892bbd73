"""What a retraining has left, damaged: every command tells it by the files, in one message, with a way out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna_dashboard import get_note

from fmnist_tune.errors import UserError
from fmnist_tune.report.run import write_report
from fmnist_tune.retrain.seeds import SeedStore
from fmnist_tune.study.dashboard import publish
from fmnist_tune.study.folder import recover
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.retraining_record import LATEST_RETRAINING_KEY, RETRAINED_KEY
from fmnist_tune.study.seed_results import plan_for
from tests.conftest import CommandLine
from tests.studies import finish_seed, open_study

RECIPE = "study: s\nmodel: {name: mlp, hidden: [8]}\ntraining: {epochs: 2}\n"
STATUS = {
    "state": "failed",
    "reason": "seed 1: out of memory",
    "trial": None,
    "label": "recipe",
    "top": None,
    "seeds": [0, 1],
    "epochs": 2,
    "began_at": "2026-01-01 00:00:00",
}
METRICS = {
    "trial": None,
    "seeds": [0, 1],
    "val_accuracy": None,
    "test_accuracy": {"values": [0.8, 0.9], "mean": 0.85, "std": 0.07, "ci95": [0.2, 1.0]},
    "per_class": {"Bag": {"f1": 0.9}},
}


@pytest.fixture
def record(tmp_path: Path) -> StudyRecord:
    """A recipe of which two seeds are trained."""
    (tmp_path / "studies").mkdir()
    record = open_study(tmp_path / "studies", RECIPE)
    record.retraining.set_status(STATUS)
    for seed in (0, 1):
        finish_seed(record, None, seed)
    return record


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "scores never written": lambda seed: (
        (seed / "test_scores.npy").unlink(),
        edit(seed / "result.json", lambda found: found["files"].pop("test_scores.npy")),
    ),
    "scores gone": lambda seed: (seed / "test_scores.npy").unlink(),
    "scores cut short": lambda seed: cut(seed / "test_scores.npy"),
    "scores of no array": lambda seed: (seed / "test_scores.npy").write_bytes(
        bytes((seed / "test_scores.npy").stat().st_size)
    ),
    "scores of one dimension": lambda seed: (
        np.save(seed / "test_scores.npy", np.zeros(30, np.float32)),
        edit(
            seed / "result.json",
            lambda found: found["files"].update({"test_scores.npy": (seed / "test_scores.npy").stat().st_size}),
        ),
    ),
    "weights gone": lambda seed: (seed / "weights.safetensors").unlink(),
    "weights cut short": lambda seed: cut(seed / "weights.safetensors"),
    "no result": lambda seed: (seed / "result.json").unlink(),
    "an empty result": lambda seed: (seed / "result.json").write_text("{}"),
    "a result cut short": lambda seed: cut(seed / "result.json"),
    "a result that is a list": lambda seed: (seed / "result.json").write_text("[]"),
    "a result without its seconds": lambda seed: edit(seed / "result.json", lambda found: found.pop("train_s")),
    "a result with a text for a number": lambda seed: edit(
        seed / "result.json", lambda found: found.update(epochs="many")
    ),
    "of another configuration": lambda seed: edit(seed / "of.json", lambda found: found.update(n_epochs=3)),
    "of nothing": lambda seed: (seed / "of.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_seed_counts_as_trained_only_while_its_files_say_so(
    record: StudyRecord, command: CommandLine, damage: Callable[[Path], object]
) -> None:
    assert "2 of 2 seeds are trained; try again with: fmnist-tune retrain s --seeds 2" in command.here("show", "s").out
    damage(record.paths.retraining("recipe", 1))
    shown = command.here("show", "s")
    assert shown.code == 0
    assert "training failed (seed 1: out of memory): 1 of 2 seeds are trained" in shown.out
    assert command.here("show", "s", "--json").json["retraining"]["trained"] == [0]
    assert "failed, 1 of 2 seeds" in command.here("studies").out
    plan = plan_for(record, None)
    assert SeedStore(record).unfinished([plan], [0, 1]) == [(plan, 1)]  # and `retrain` trains it


@pytest.mark.parametrize(
    ("metrics", "complaint"),
    [
        ({key: METRICS[key] for key in METRICS if key != "per_class"}, "per_class: field required"),
        ({**METRICS, "test_accuracy": {"mean": 0.85}}, "test_accuracy.values: field required"),
        ({**METRICS, "seeds": "all"}, "seeds: input should be a valid list"),
        ({**METRICS, "seeds": []}, "seeds: list should have at least 1 item"),
        ({}, "trial: field required"),
        ([1], "not a JSON object"),
    ],
    ids=["no classes", "no values", "a text", "no seeds", "nothing", "a list"],
)
def test_a_damaged_record_of_a_result_is_named_and_the_rest_is_shown(
    record: StudyRecord, command: CommandLine, metrics: Any, complaint: str
) -> None:
    record.retraining.set_status({**STATUS, "state": "done", "reason": None})
    record.optuna.set_user_attr(RETRAINED_KEY, metrics)
    said = f"training failed (what the study records of its result is damaged: {complaint}"
    shown = command.here("show", "s")
    assert (shown.code, shown.err) == (0, "")
    assert said in " ".join(shown.out.split())
    assert "try again with: fmnist-tune retrain s --seeds 2" in " ".join(shown.out.split())
    assert command.here("show", "s", "--json").json["retrained"] is None
    listed = command.here("studies")
    assert (listed.code, listed.err) == (0, "")
    assert "failed, 2 of 2 seeds" in listed.out
    publish(record, [])
    assert "is damaged" in get_note(record.optuna)


@pytest.mark.parametrize("known", [{}, [], {**STATUS, "seeds": None}, {**STATUS, "state": "odd"}])
def test_a_damaged_record_of_a_retraining_is_named(record: StudyRecord, command: CommandLine, known: Any) -> None:
    record.optuna.set_user_attr(LATEST_RETRAINING_KEY, known)
    shown = command.here("show", "s")
    assert (shown.code, shown.err) == (0, "")
    assert "retraining failed (what the study records of it cannot be read" in shown.out
    assert "try again with: fmnist-tune retrain s" in shown.out
    assert command.here("studies").code == 0
    recover(record)  # as every driver does first


@pytest.mark.parametrize("key", ["trial", "seeds", "config", "epochs", "params", "val_accuracy", "scores"])
def test_a_report_names_what_is_missing_in_the_metrics(record: StudyRecord, command: CommandLine, key: str) -> None:
    names = [f"retrain/recipe/seed-{seed}/test_scores.npy" for seed in (0, 1)]
    metrics = {**METRICS, "config": {}, "epochs": 2, "params": 7, "scores": names}
    record.paths.model.mkdir()
    path = record.paths.model / "metrics.json"
    path.write_text(json.dumps({name: value for name, value in metrics.items() if name != key}))
    run = command.here("report", "s")
    assert run.code == 2
    assert run.err == (
        f"fmnist-tune: studies/s/model/metrics.json: damaged ({key}: field required); "
        "`fmnist-tune retrain s` makes it again\n"
    )


def test_a_report_names_a_damaged_curve_of_a_retraining(tmp_path: Path) -> None:
    text = "study: s\ntask: modular-addition\nmodel: {name: embedding_mlp}\ntraining: {steps: 40, eval_every: 20}\n"
    record = open_study(tmp_path, text)
    folder = finish_seed(record, None, 0)
    spread = {"values": [1.0], "mean": 1.0, "std": None, "ci95": None}
    curve = str((folder / "result.json").relative_to(record.paths.folder))
    config = record.space.config({}).model_dump()
    record.retraining.set_result(
        {"trial": None, "seeds": [0], "steps_to_solve": spread, "config": config, "curves": [curve]}
    )
    for damage in (
        lambda: edit(folder / "result.json", lambda found: found["history"][0].update(val_accuracy="good")),
        lambda: edit(folder / "result.json", lambda found: found.pop("history")),
        lambda: shutil.rmtree(folder),
    ):
        damage()
        with pytest.raises(UserError, match=r"result.json: missing or damaged; `fmnist-tune retrain s .*` makes it"):
            write_report(record, None, log=print)
