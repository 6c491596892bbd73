"""A study that version 0.1.0 made, on the tiny data set: it opens, goes on, is retrained and reported by this version.

It has five complete trials, two pruned ones, two that pause at their rungs, and two that a killed
driver left running; trial 1 was retrained over two seeds. It was made at commit cee2971 by `search` with 6 trials,
`retrain --seeds 2`, `report`, and `resume --trials 14`, killed after trial 8; one checkpoint, the exports and the report
were left out.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from fmnist_tune.config import read_space
from fmnist_tune.study.database import database_url, open_database
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.sampling import values_of
from fmnist_tune.study.trial_data import is_initial
from fmnist_tune.study.trial_writer import TrialWriter
from tests.conftest import CommandLine

ARCHIVE = Path(__file__).parent / "fixtures" / "study-0.1.0.tar.xz"


@pytest.fixture
def old(command: CommandLine) -> CommandLine:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(command.folder / "studies", filter="data")
    return command


def test_an_older_study_is_listed_and_shown(old: CommandLine) -> None:
    (listed,) = old("studies", "--json").json["studies"]
    assert listed["trials"] == {"complete": 5, "pruned": 2, "failed": 0, "running": 0, "waiting": 4, "total": 11}
    assert listed["retrained"]["trial"] == 1
    shown = old("show", "old", "--json").json
    assert shown["best"]["number"] == 1
    assert shown["best"]["value"] == 1
    assert shown["all"][4]["state"] == "pruned"
    text = old("show", "old")
    assert text.code == 0
    assert "100.00 %" in text.out
    assert "2 of 2 seeds" not in text.out  # they are done


def test_an_older_study_exports_its_best_trial(old: CommandLine) -> None:
    recipe = old("export", "old").out
    assert recipe.startswith("# Trial 1 of study old, val_accuracy 1.0000.")


def test_an_older_study_knows_its_initial_point_and_takes_new_ones(old: CommandLine) -> None:
    folder = old.folder / "studies"
    storage, paths = open_database(database_url(folder), create=False), StudyPaths(folder, "old")
    record = StudyRecord.load(storage, paths)
    assert [trial.number for trial in record.trials if is_initial(trial)] == [0]
    assert TrialWriter(record).initial == []
    points = [values_of(record.trials[0].params, record.space), {"model.hidden": [8]}]
    space = read_space(record.space.to_yaml(), "old.yaml", {"search.initial": points})
    assert TrialWriter(StudyRecord.open(storage, space, paths)).initial == [{"model.hidden": "[8]"}]


@pytest.mark.ray
def test_an_older_study_goes_on_is_retrained_and_reported(old: CommandLine, joined: CommandLine) -> None:
    run = joined("resume", "old", "--data-dir", old.data_dir, "--trials", "12", "--json")
    assert run.code == 0, run.err
    assert run.json["trials"]["total"] == 12
    assert run.json["trials"]["waiting"] == run.json["trials"]["running"] == 0
    assert "trial 9   interrupted earlier, goes on" in run.err
    folder = old.folder / "studies"
    record = StudyRecord.load(open_database(database_url(folder), create=False), StudyPaths(folder, "old"))
    for trial in record.trials:
        assert list(trial.intermediate_values) == list(range(1, 1 + len(trial.intermediate_values)))
    retrained = joined("retrain", "old", "--data-dir", old.data_dir, "--trial", "1", "--seeds", "2", "--json")
    assert retrained.code == 0, retrained.err
    assert retrained.json["epochs"] == 4
    assert "seed 0: " not in retrained.err  # both seeds were trained by the older version
    report = old.here("report", "old", "--data-dir", old.data_dir, "--json")
    assert report.code == 0, report.err
    assert (old.folder / report.json["report"]).is_file()
