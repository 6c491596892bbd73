"""The end of a study: seeds, the test set, the saved model; real Ray, a tiny real data set."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

import fmnist_tune
from fmnist_tune.data.fashion_mnist import CLASSES, load_part
from fmnist_tune.evaluation import accuracy
from fmnist_tune.study.database import database_url, open_database
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.trial_data import metadata_of
from fmnist_tune.tasks.images import Images
from fmnist_tune.units import percent
from tests.conftest import TINY_SPACE, CommandLine

pytestmark = pytest.mark.ray

RECIPE = """\
study: plain
model: {name: mlp, hidden: [8]}
training: {epochs: 3, batch_size: 32, optimizer: {lr: 1e-2}}
data: {val_size: 100}
"""


def tiny_test_set(command: CommandLine, monkeypatch: pytest.MonkeyPatch) -> Images:
    monkeypatch.setenv("FMNIST_TUNE_MD5SUMS", command.environment["FMNIST_TUNE_MD5SUMS"])
    return load_part(command.data_dir, "test")


def ended_epochs(folder: Path) -> Counter[tuple[int, int]]:
    """Return how often each (seed, epoch) was trained to its end."""
    lines = [json.loads(line) for line in (folder / "retrain" / "training.log").read_text().splitlines()]
    return Counter((line["trial"], line["epoch"]) for line in lines if line["event"] == "end")


def test_a_winner_is_trained_on_everything_and_each_seed_tested_once(
    study: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = study("retrain", "tiny", "--seeds", 2, "--data-dir", study.data_dir, "--json")
    assert run.code == 0, run.err
    metrics = run.json
    folder = study.folder / "studies" / "tiny"
    best = yaml.safe_load((folder / "best.yaml").read_text())
    assert metrics["config"]["training"]["optimizer"]["lr"] == best["training"]["optimizer"]["lr"]
    assert metrics["seeds"] == [0, 1]
    test = tiny_test_set(study, monkeypatch)
    scores = [np.load(folder / path) for path in metrics["scores"]]
    assert metrics["test_accuracy"]["values"] == [accuracy(s, test.labels_N) for s in scores]
    assert metrics["test_accuracy"]["mean"] == pytest.approx(np.mean(metrics["test_accuracy"]["values"]))
    assert [*metrics["per_class"]] == list(CLASSES)
    assert sum(c["support"] for c in metrics["per_class"].values()) == 100
    mean, sem = np.mean(metrics["test_accuracy"]["values"]), stats.sem(metrics["test_accuracy"]["values"])
    low, high = stats.t.interval(0.95, 1, mean, sem) if sem else (mean, mean)
    assert metrics["test_accuracy"]["ci95"] == pytest.approx([max(0.0, low), min(1.0, high)])
    is_bag_N = test.labels_N == CLASSES.index("Bag")
    recalls = [(s.argmax(1) == CLASSES.index("Bag"))[is_bag_N].mean() for s in scores]
    assert metrics["per_class"]["Bag"]["recall"] == pytest.approx(np.mean(recalls))
    assert metrics["export"] == {"onnx_agreement": 1.0, "torch_export_agreement": 1.0}
    result = json.loads((folder / "retrain" / f"trial-{metrics['trial']}" / "seed-1" / "result.json").read_text())
    assert [epoch["n_images"] for epoch in result["history"]] == [600] * 4  # train + val
    model = {
        "config.yaml",
        "metrics.json",
        "model.onnx",
        "model.pt2",
        "model_card.md",
        "robustness.csv",
        "weights.safetensors",
    }
    assert {path.name for path in (folder / "model").iterdir()} == model

    again = study.here("retrain", "tiny", "--seeds", 2, "--data-dir", study.data_dir, "--json")
    assert again.json == metrics
    assert "nothing was left to train" in again.err
    assert set(ended_epochs(folder).values()) == {1}

    seed = folder / "retrain" / f"trial-{metrics['trial']}" / "seed-1"
    (seed / "test_scores.npy").write_bytes(b"garbage")
    (folder / "model" / "weights.safetensors").write_bytes(b"")
    (folder / "model" / "robustness.csv").unlink()
    repaired = study("retrain", "tiny", "--seeds", 2, "--data-dir", study.data_dir, "--json")
    assert repaired.code == 0, repaired.err
    assert "nothing was left to train" not in repaired.err
    measured = {"finished_at", "files", "train_s"}
    assert [repaired.json[key] for key in metrics if key not in measured] == [
        metrics[key] for key in metrics if key not in measured
    ]
    assert ended_epochs(folder)[(1, 4)] == 2  # the damaged seed alone was trained again
    assert ended_epochs(folder)[(0, 4)] == 1

    opened = fmnist_tune.load_study("tiny", study.folder / "studies")
    assert opened.retrained is not None
    assert opened.retrained["test_accuracy"] == metrics["test_accuracy"]
    assert np.abs(opened.model().scores(test.images_NHW) - scores[0]).max() < 1e-4  # the model is that of seed 0

    trials = study("show", "tiny", "--json").json["all"]
    assert opened.best == study("show", "tiny", "--json").json["best"]
    assert opened.trials["value"].tolist() == [t["value"] for t in trials]
    assert len(opened.curves) == sum(t["epochs"] for t in trials)
    assert opened.summary.best is not None
    assert opened.summary.best.number == metrics["trial"]

    shown = study("show", "tiny")
    assert f"trial {metrics['trial']} retrained: test accuracy {percent(metrics['test_accuracy']['mean'])}" in shown.out
    assert "the test set has been opened once for this study" in shown.out

    another = 0 if metrics["trial"] else 1
    run = study("retrain", "tiny", "--trial", another, "--seeds", 1, "--data-dir", study.data_dir)
    assert run.code == 0, run.err
    assert "the test set has been opened 2 times for this study, for more than one trial" in run.err
    assert "one seed, no interval" in run.out
    assert "the test set has been opened 2 times for this study" in run.out


def test_a_killed_retraining_goes_on(command: CommandLine, joined: CommandLine) -> None:
    path = joined.folder / "long.yaml"
    path.write_text(RECIPE.replace("study: plain", "study: long").replace("epochs: 3", "epochs: 60"))
    words = ("train", path, "--seeds", 3, "--data-dir", joined.data_dir, "--json")
    process = command.start(*words)
    folder = joined.folder / "studies" / "long"
    log = folder / "retrain" / "training.log"
    end = time.monotonic() + 120
    while not (log.exists() and log.read_text().count('"end"') > 40):
        assert time.monotonic() < end
        time.sleep(0.05)
    process.kill()
    process.communicate(timeout=60)
    n_trained = len(list(folder.glob("retrain/recipe/*/result.json")))
    standing = (
        f"training was interrupted: {n_trained} of 3 seeds are trained; go on with: fmnist-tune retrain long --seeds 3"
    )
    assert f"study long: a recipe; {standing}\n" in joined("show", "long").out
    retraining = joined("show", "long", "--json").json["retraining"]
    assert (retraining["state"], retraining["label"], retraining["epochs"]) == ("interrupted", "recipe", 60)
    listed = joined("studies").out
    assert re.search(rf"long +recipe +interrupted, {n_trained} of 3 seeds", listed)
    run = joined("retrain", "long", *words[2:])
    assert run.code == 0, run.err
    assert run.json["epochs"] == 60
    shown = joined("show", "long").out
    assert "study long: a recipe; trained without a search\n" in shown
    assert "the test set has been opened once for this study" in shown
    accuracy_text = f"test accuracy {percent(run.json['test_accuracy']['mean'])}"
    assert re.search(rf"long +recipe +{accuracy_text}", joined("studies").out)
    assert ended_epochs(folder) == {(seed, epoch): 1 for seed in range(3) for epoch in range(1, 61)}
    assert "nothing was left to train" in joined.here(*words).err


def test_ctrl_c_stops_after_the_running_epochs_and_the_command_goes_on(joined: CommandLine) -> None:
    path = joined.folder / "long.yaml"
    path.write_text(RECIPE.replace("study: plain", "study: long").replace("epochs: 3", "epochs: 2000"))
    process = joined.start("train", path, "--seeds", 1, "--data-dir", joined.data_dir)
    log = joined.folder / "studies" / "long" / "retrain" / "training.log"
    end = time.monotonic() + 120
    while not (log.exists() and '"end"' in log.read_text()):
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in err
    assert "Traceback" not in err
    studies = joined.folder / "studies"
    assert (
        StudyRecord.load(
            open_database(database_url(studies), create=False), StudyPaths(studies, "long")
        ).retraining.test_uses
        == []
    )


@pytest.mark.parametrize(("after", "wait_s"), [("starting Ray", 1.0), ("robustness audit", 0.0)])
def test_sigterm_ends_a_training_as_ctrl_c_does_wherever_it_is(
    command: CommandLine, joined: CommandLine, after: str, wait_s: float
) -> None:
    study = command if after == "starting Ray" else joined
    path = study.folder / "plain.yaml"
    path.write_text(RECIPE)
    process = study.start("train", path, "--seeds", 1, "--data-dir", study.data_dir)
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if after in line:
            break
    time.sleep(wait_s)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)
    err = os.read(process.stderr.fileno(), 100_000).decode()  # not to its end: Ray's agents outlive it for a minute
    for pipe in (process.stdout, process.stderr):
        assert pipe is not None
        pipe.close()
    assert process.returncode == 130, (seen, err)
    assert "interrupted" in err
    assert "Traceback" not in err
    assert study("show", "plain", "--json").json["retraining"]["state"] == "interrupted"


def test_the_best_trials_are_compared_over_seeds_on_validation(study: CommandLine) -> None:
    run = study("retrain", "tiny", "--top", 2, "--seeds", 2, "--data-dir", study.data_dir, "--json")
    assert run.code == 0, run.err
    first, second = run.json["confirmation"]["candidates"]
    assert first["val_accuracy"]["mean"] >= second["val_accuracy"]["mean"]
    assert run.json["trial"] == first["trial"]
    folder = study.folder / "studies" / "tiny" / "retrain" / f"confirm-trial-{second['trial']}" / "seed-0"
    result = json.loads((folder / "result.json").read_text())
    assert {epoch["n_images"] for epoch in result["history"]} == {500}  # without the validation split
    assert not (folder / "test_scores.npy").exists()


def test_an_exported_recipe_is_trained_beside_the_search_it_came_from(study: CommandLine) -> None:
    path = study.folder / "best.yaml"
    assert study("export", "tiny", "--output", path).code == 0
    run = study("train", path, "--seeds", 1, "--data-dir", study.data_dir, "--json")
    assert run.code == 0, run.err
    assert run.json["study"] == "tiny-recipe"
    assert "a search has the name tiny: this training is kept in the study tiny-recipe" in run.err
    assert run.json["trial"] is None
    listed = {row["study"]: row for row in study("studies", "--json").json["studies"]}
    assert listed["tiny-recipe"]["recipe"]
    assert not listed["tiny"]["recipe"]
    changed = study.folder / "changed.yaml"
    changed.write_text(re.sub(r"epochs: \d+", "epochs: 9", path.read_text()))
    refused = study.here("train", changed, "--seeds", 1, "--data-dir", study.data_dir)
    assert refused.code == 2
    assert "begun with another recipe:\n  training.epochs: 4 -> 9\neither give it a name of its own" in refused.err
    assert "--warm-start" not in refused.err
    report = study.here("report", "tiny-recipe", "--data-dir", study.data_dir)
    assert report.code == 0, report.err
    page = (study.folder / "studies" / "tiny-recipe" / "report" / "report.md").read_text()
    assert "fmnist-tune train tiny-recipe.yaml" in page
    assert "study: tiny-recipe" in page
    assert study.here("resume", "tiny-recipe", "--data-dir", study.data_dir).code == 2


def test_early_stopping_trains_to_the_epoch_that_was_best(joined: CommandLine) -> None:
    space = TINY_SPACE.replace("epochs: 4", "epochs: 30\n  early_stopping: 2").replace("trials: 4", "trials: 1")
    assert joined.search(space).code == 0
    record = StudyRecord.load(
        open_database(database_url(joined.folder / "studies"), create=False),
        StudyPaths(joined.folder / "studies", "tiny"),
    )
    best_epoch = metadata_of(record.trials[0])["best_epoch"]
    run = joined("retrain", "tiny", "--seeds", 1, "--data-dir", joined.data_dir, "--json")
    assert run.json["epochs"] == best_epoch < 30
    assert run.json["config"]["training"]["epochs"] == 30  # the learning rate's schedule stays
    card = (joined.folder / "studies" / "tiny" / "model" / "model_card.md").read_text()
    assert "`config.yaml` alone would train for all 30 epochs, `fmnist-tune retrain tiny --trial 0`" in card
    recipe = joined("export", "tiny").out
    assert f"# It was best after epoch {best_epoch}: `retrain` trains it for so many." in recipe
    (joined.folder / "recipe.yaml").write_text(recipe)
    trained = joined("train", "recipe.yaml", "--seeds", 1, "--data-dir", joined.data_dir, "--json")
    assert trained.json["epochs"] == 30
    assert "training.early_stopping has nothing to stop by" in trained.err


def files_in(folder: Path) -> list[Path]:
    """Return what is in a folder, but for the files of SQLite's that are there as long as somebody reads a database."""
    return sorted(path for path in folder.rglob("*") if not path.name.endswith(("-wal", "-shm")))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["retrain", "tinny"], "study 'tinny': no such study; did you mean 'tiny'?"),
        (["retrain", "tiny", "--trial", "9"], "--trial 9: study 'tiny' has trials 0 to 3"),
        (["resume", "tiny", "--seed", "7"], "--seed 7: study 'tiny' was begun with seed 0, which stays"),
        (["export", "tiny", "--output", "."], "--output .: a directory; name a file, such as recipe.yaml"),
        (["retrain", "tiny", "--seeds", "0"], "--seeds: '0' is not a whole number of at least 1"),
        (["retrain", "tiny", "--top", "1"], "--top: '1' is not a whole number of at least 2"),
        (["retrain", "tiny", "--top", "9"], "--top 9: study 'tiny' has 4 COMPLETE trials"),
        (["retrain", "tiny", "--top", "2", "--trial", "1"], "not allowed with argument"),
        (["train", "space.yaml"], "space.yaml: not a recipe: it searches model.dropout"),
        (["train", "absent.yaml"], "absent.yaml: no such file"),
    ],
)
def test_what_cannot_be_retrained_is_named(study: CommandLine, words: list[str], message: str) -> None:
    before = files_in(study.folder)
    run = study.here(*words)
    assert run.code == 2
    assert message in run.err
    assert "Traceback" not in run.err
    assert files_in(study.folder) == before


def test_a_file_in_the_place_of_a_folder_is_named(study: CommandLine) -> None:
    path = study.folder / "studies" / "tiny" / "retrain"
    path.write_text("x")
    run = study.here("retrain", "tiny", "--seeds", 1, "--data-dir", study.data_dir)
    assert run.code == 2
    assert f"{path.relative_to(study.folder)}: cannot be written to" in run.err
    assert "Traceback" not in run.err


def test_a_study_without_a_complete_trial_says_so(study: CommandLine) -> None:
    with sqlite3.connect(study.folder / "studies" / "studies.db") as connection:
        connection.execute("UPDATE trials SET state = 'PRUNED'")
    run = study.here("retrain", "tiny")
    assert run.code == 2
    assert "study 'tiny': no trial has been trained to its end yet" in run.err
    with sqlite3.connect(study.folder / "studies" / "studies.db") as connection:
        connection.execute("UPDATE trials SET state = 'FAIL'")
    assert "study 'tiny': all 4 trials failed" in study.here("retrain", "tiny").err
    refused = study.here("retrain", "tiny", "--trial", 1)
    assert "--trial 1: that trial failed (unknown), so there is nothing to retrain" in refused.err
    exported = study("export", "tiny", "--trial", 1)
    assert exported.out.startswith("# Trial 1 of study tiny, which failed: unknown.\n")
    assert "warning: trial 1 failed: unknown" in exported.err


def test_a_training_that_diverges_is_named(joined: CommandLine) -> None:
    path = joined.folder / "recipe.yaml"
    path.write_text(RECIPE.replace("optimizer: {lr: 1e-2}", "optimizer: {name: sgd, lr: 1e30}"))
    run = joined("train", path, "--seeds", 1, "--data-dir", joined.data_dir)
    assert run.code == 2
    assert "recipe, seed 0: NonFiniteLossError: loss is" in run.err
    assert "Traceback" not in run.err
    shown = joined("show", "plain").out
    assert "a recipe; training failed (recipe, seed 0: NonFiniteLossError: loss is" in shown
    assert "0 of 1 seeds are trained; try again with: fmnist-tune retrain plain --seeds 1" in shown
