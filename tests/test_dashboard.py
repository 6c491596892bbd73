"""The dashboard: what is published to a study, the server around optuna-dashboard, its pages in a real Chromium."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from matplotlib.image import imsave
from optuna_dashboard import get_note, save_note

from fmnist_tune.cli.dashboard import OwnImportances
from fmnist_tune.config import read_space
from fmnist_tune.errors import UserError
from fmnist_tune.study.dashboard import OWN_NOTES, artifact_store, publish
from fmnist_tune.study.database import database_url, open_database
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.lock import DriverLock
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.summary import summarize
from fmnist_tune.study.trial_writer import TrialWriter
from tests.conftest import TINY_SPACE, CommandLine
from tests.studies import finish_seed

METRICS = {
    "trial": 0,
    "seeds": [0, 1, 2],
    "val_accuracy": 0.85,
    "test_accuracy": {"values": [0.83, 0.84, 0.85], "mean": 0.84, "std": 0.01, "ci95": [0.8152, 0.8648]},
    "per_class": {
        name: {"recall": recall, "support": 0 if recall is None else 1000}
        for name, recall in (("Shirt", 0.61), ("Bag", 0.97), ("Coat", 0.79), ("Boot", 0.95), ("Hat", None))
    },
    "test_uses": 2,
}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WAIT_MS = 120_000


@pytest.fixture
def studies_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "studies"
    folder.mkdir()
    return folder


@pytest.fixture
def record(studies_dir: Path) -> StudyRecord:
    """One complete trial, three pruned ones, a failed and a waiting one."""
    storage = open_database(database_url(studies_dir), create=True)
    space = read_space(TINY_SPACE, "tiny.yaml", {"search.trials": 6, "search.initial": [{"training.batch_size": 64}]})
    record = StudyRecord.open(storage, space, StudyPaths(studies_dir, "tiny"))
    trials = TrialWriter(record)
    for number in range(6):
        spec = trials.begin()
        assert spec is not None
        for epoch in range(1, 5 if number == 0 else 3):
            trials.report(number, epoch, 0.75 - 0.1 * number + 0.025 * epoch)
        if number < 4:
            trials.note_progress(number, [], {"params": 6_370, "duration_s": 2.5})
    trials.complete(0, 0.85)
    for number in (1, 2, 3):
        trials.prune(number, "asha")
    trials.fail(4, "OutOfMemoryError: too | wide")
    trials.release(5)
    return record


@pytest.fixture
def figure(studies_dir: Path) -> Path:
    path = studies_dir / "tiny" / "report" / "confusion_matrix.png"
    path.parent.mkdir(parents=True)
    imsave(path, np.eye(10).repeat(150, axis=0).repeat(150, axis=1))
    return path


def id_of(record: StudyRecord) -> int:
    return record.storage.get_study_id_from_name(record.paths.name)


def system_attributes(record: StudyRecord) -> dict[str, Any]:
    return record.storage.get_study_system_attrs(id_of(record))


def artifacts(record: StudyRecord) -> dict[str, tuple[str, bytes]]:
    """Return each artifact of a study by its file name: its id and its content."""
    attributes = system_attributes(record)
    metas = [json.loads(value) for key, value in attributes.items() if key.startswith("artifacts:")]
    assert len({meta["filename"] for meta in metas}) == len(metas)
    store = artifact_store(record.paths.studies_dir)
    found = {}
    for meta in metas:
        with store.open_reader(meta["artifact_id"]) as file:
            found[meta["filename"]] = (meta["artifact_id"], file.read())
    return found


def test_the_note_sums_the_study_up(record: StudyRecord) -> None:
    publish(record, [])
    note = get_note(record.optuna)
    assert "6 of 6 trials (1 complete, 3 pruned, 1 failed, 1 paused)." in note
    assert "- **Note:** 1 of 6 trials failed (16.7 %): `OutOfMemoryError: too | wide` (once)." in note
    assert "## Best trial 0\n\nValidation accuracy 85.00 % (4 epochs, 6,370 parameters, 2 s, initial point)." in note
    assert "| `training.optimizer.lr` | 0." in note
    where = f"--studies-dir {record.paths.studies_dir}"
    assert f"fmnist-tune resume tiny {where}\nfmnist-tune retrain tiny {where}\nfmnist-tune report tiny {where}" in note
    assert "Test" not in note
    assert "Plots" not in note


def test_the_note_of_a_study_without_a_finished_trial_says_so(studies_dir: Path) -> None:
    storage = open_database(database_url(studies_dir), create=True)
    record = StudyRecord.open(storage, read_space(TINY_SPACE, "tiny.yaml"), StudyPaths(studies_dir, "tiny"))
    publish(record, [])
    note = get_note(record.optuna)
    assert "0 of 4 trials (none yet)." in note
    assert "there is no best trial" in note
    assert "fmnist-tune retrain" not in note


def test_the_note_of_a_recipe_says_how_its_training_stands(studies_dir: Path) -> None:
    storage = open_database(database_url(studies_dir), create=True)
    space = read_space("study: tiny\nmodel: {name: mlp}", "tiny.yaml")
    record = StudyRecord.open(storage, space, StudyPaths(studies_dir, "tiny"))
    publish(record, [])
    assert "A recipe; not trained yet; train it with: fmnist-tune retrain tiny" in get_note(record.optuna)
    facts = {"state": "running", "reason": None, "trial": None, "label": "recipe", "top": None, "epochs": 9}
    record.retraining.set_status({**facts, "seeds": [0, 1], "began_at": "2026-01-01 00:00:00"})
    finish_seed(record, None, 1)
    publish(record, [])
    note = get_note(record.optuna)
    assert "A recipe; training was interrupted: 1 of 2 seeds are trained; go on with: fmnist-tune retrain tiny" in note
    assert "trials" not in note
    assert "fmnist-tune resume" not in note


def test_the_note_has_the_test_result_beside_the_promise(record: StudyRecord) -> None:
    for command in ("retrain", "report"):
        record.retraining.add_test_use(command, 0, [0, 1, 2])
    record.retraining.set_result(METRICS)
    publish(record, [])
    note = get_note(record.optuna)
    assert "## Trial 0 retrained\n\nTest accuracy 84.00 % ±" in note
    assert "(95 % interval of the mean 81.52 % to 86.48 %, 3 seeds)." in note
    assert "Validation, 85.00 %, was 1.00 points higher: it is optimistic by design" in note
    assert "Weakest classes by recall: Shirt 61.0 %, Coat 79.0 %. The test set has no images of Hat: how" in note
    assert "The test set has been opened 2 times for this study (retrain 1, report 1)." in note
    assert "fmnist-tune retrain" not in note


def test_figures_and_tables_become_artifacts_and_figures_stand_in_the_note(record: StudyRecord, figure: Path) -> None:
    table = figure.with_name("a.csv")
    table.write_text("x\n1\n")
    other = Path(shutil.copy(figure, figure.with_name("a.png")))
    publish(record, [other, figure], [table])
    found = artifacts(record)
    assert set(found) == {"confusion_matrix.png", "a.png", "a.csv"}
    assert found["a.csv"][1] == b"x\n1\n"
    assert found["a.png"][1] == figure.read_bytes()
    study = id_of(record)
    first, second = (
        f"![{text}](/artifacts/{study}/{found[name][0]})"
        for text, name in (("confusion matrix", "confusion_matrix.png"), ("a", "a.png"))
    )
    assert f"## Plots\n\n{first}\n\n{second}\n" in get_note(record.optuna)


def test_publishing_again_replaces_what_has_changed_and_writes_nothing_else(record: StudyRecord, figure: Path) -> None:
    kept = Path(shutil.copy(figure, figure.with_name("kept.png")))
    publish(record, [figure, kept])
    store = record.paths.studies_dir / "artifacts"

    def written() -> dict[str, int]:
        return {name: (store / artifact).stat().st_mtime_ns for name, (artifact, _) in artifacts(record).items()}

    attributes = system_attributes(record)
    before = written()
    publish(record, [figure, kept])
    assert written() == before
    assert system_attributes(record) == attributes

    imsave(figure, np.zeros((5, 5)))
    publish(record, [figure, kept])
    after = written()
    assert after["kept.png"] == before["kept.png"]
    assert artifacts(record)["confusion_matrix.png"][1] == figure.read_bytes()
    assert len(list(store.iterdir())) == 2


def test_a_file_that_was_deleted_from_the_store_is_put_back(record: StudyRecord, figure: Path) -> None:
    publish(record, [figure])
    artifact, content = artifacts(record)[figure.name]
    (record.paths.studies_dir / "artifacts" / artifact).unlink()
    publish(record, [figure])
    assert artifacts(record)[figure.name] == (artifact, content)


def test_an_artifact_deleted_in_the_dashboard_is_published_again(record: StudyRecord, figure: Path) -> None:
    publish(record, [figure])
    artifact, _ = artifacts(record)[figure.name]
    record.storage.set_study_system_attr(id_of(record), f"artifacts:{artifact}", "null")
    publish(record, [figure])
    attributes = system_attributes(record)
    assert sum(key.startswith("artifacts:") and value != "null" for key, value in attributes.items()) == 1


def test_what_a_reader_wrote_into_the_note_stays(record: StudyRecord) -> None:
    save_note(record.optuna, "Mine, from before.")
    publish(record, [])
    save_note(record.optuna, get_note(record.optuna).replace("# study tiny", "# gone") + "\n\nMine, from after.")
    publish(record, [])
    note = get_note(record.optuna)
    assert note.startswith("# study tiny\n")
    assert note.endswith(f"{OWN_NOTES}\n\nMine, from before.\n\nMine, from after.")


def test_a_note_may_be_long(record: StudyRecord) -> None:
    save_note(record.optuna, "long " * 10_000)
    publish(record, [])
    publish(record, [])
    assert get_note(record.optuna).count("long ") == 10_000


def test_plots_from_before_the_latest_trials_are_called_so(record: StudyRecord, figure: Path) -> None:
    publish(record, [figure])
    assert "Trials that have ended since" not in get_note(record.optuna)
    second = record.trials[1].datetime_complete
    assert second is not None
    os.utime(figure, (second.timestamp(), second.timestamp()))
    publish(record, [figure])
    assert "Trials that have ended since these were drawn: 3." in get_note(record.optuna)


def test_nothing_is_published_while_the_study_is_searched(record: StudyRecord, figure: Path) -> None:
    with (
        DriverLock(record.paths),
        pytest.raises(UserError, match="study tiny is being searched or trained; its driver alone writes it"),
    ):
        publish(record, [figure])
    assert get_note(record.optuna) == ""
    assert not (record.paths.studies_dir / "artifacts").exists()


def test_without_studies_the_dashboard_does_not_start(command: CommandLine) -> None:
    run = command("dashboard", "--port", "0")
    assert run.code == 2
    assert "studies/studies.db: no studies yet; start one with" in run.err
    assert not (command.folder / "studies").exists()


def test_a_port_in_use_is_named(command: CommandLine, record: StudyRecord) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        run = command("dashboard", "--port", str(port))
    assert run.code == 2
    assert run.err == (f"fmnist-tune: --port {port}: already in use; give another one, or --port 0 for any free one\n")


@contextmanager
def running(command: CommandLine) -> Iterator[Any]:
    """Run the dashboard; gives what it prints about itself, ends it by Ctrl-C and checks its end."""
    process = command.start("dashboard", "--port", "0", "--json")
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield json.loads(line)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err
    assert "GET" not in err
    assert err.startswith("dashboard: http://127.0.0.1:")


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(url, method=method, headers=headers, data=b"{}" if method != "GET" else None)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.browser
def test_the_dashboard_says_where_it_is_and_what_there_is(command: CommandLine, record: StudyRecord) -> None:
    with running(command) as started:
        assert ask(started["url"])[0] == 200
        (study,) = started["studies"]
        assert study["url"] == f"{started['url']}/studies/{id_of(record)}"
        assert study["status"] == "6 of 6 trials, 3 pruned"
    assert "3 pruned" in get_note(record.optuna)


@pytest.mark.browser
def test_a_study_that_is_searched_is_shown_but_cannot_be_changed(command: CommandLine, record: StudyRecord) -> None:
    with DriverLock(record.paths), running(command) as started:
        (study,) = started["studies"]
        assert study["status"] == "6 of 6 trials, 3 pruned, being searched"
        assert get_note(record.optuna) == ""
        api = study["url"].replace("/dashboard/", "/api/")
        code, text = ask(api, "DELETE", **{"Content-Type": "application/json"})
        assert (code, json.loads(text)["reason"]) == (
            409,
            "tiny: being searched; until that ends only notes can be changed",
        )
        assert json.loads(ask(api)[1])["name"] == "tiny"


def test_the_first_pages_importances_are_those_that_show_tells(studies_dir: Path) -> None:
    storage = open_database(database_url(studies_dir), create=True)
    space = read_space(TINY_SPACE, "tiny.yaml", {"search.trials": 12})
    record = StudyRecord.open(storage, space, StudyPaths(studies_dir, "tiny"))
    trials = TrialWriter(record)
    for number in range(12):
        assert trials.begin() is not None
        trials.report(number, 1, 0.5 + 0.01 * number)
        trials.complete(number, 0.5) if number < 2 else trials.prune(number, "asha")
    optuna.create_study(study_name="another", storage=storage)
    asked: list[str] = []

    def dashboard(environ: Any, start_response: Any) -> list[bytes]:
        asked.append(environ["PATH_INFO"])
        return [b"its own"]

    def get(study_id: int, what: str) -> bytes:
        path = f"/api/studies/{study_id}/{what}"
        answer = OwnImportances(dashboard, storage, studies_dir)({"PATH_INFO": path}, lambda status, headers: print)
        return b"".join(answer)

    ids = {name: storage.get_study_id_from_name(name) for name in ("tiny", "another")}
    ((*shares,),) = json.loads(get(ids["tiny"], "param_importances"))["param_importances"]
    importances = summarize(record, is_running=False).importances
    assert importances is not None
    assert {share["name"]: share["importance"] for share in shares} == importances.shares
    kinds = {share["name"]: share["distribution"] for share in shares}
    assert kinds["training.batch_size"] == "CategoricalDistribution"
    assert get(ids["tiny"], "param_importance") == get(ids["another"], "param_importances") == b"its own"
    assert len(asked) == 2


@pytest.mark.browser
def test_a_page_of_another_name_cannot_use_the_dashboard(command: CommandLine, record: StudyRecord) -> None:
    with running(command) as started:
        code, text = ask(started["url"], Host="rebound.example.com")
        assert code == 403
        assert "'rebound.example.com' is not this machine" in text


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on PATH")
def test_chromium_shows_the_pruned_count_a_curve_and_the_confusion_matrix(
    command: CommandLine, record: StudyRecord, figure: Path
) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    remote = []
    with running(command) as started, sync_api.sync_playwright() as playwright:
        url = started["studies"][0]["url"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on(
            "request",
            lambda r: r.url.startswith((url.partition("/dashboard")[0], "data:", "blob:")) or remote.append(r.url),
        )

        page.goto(url)
        points = {name.strip(): n for name, n in traces(page, "graph-intermediate-values")}
        assert points["trial #0"] == 4
        assert points["trial #1"] == 2
        assert dict(traces(page, "graph-timeline")) == {"Complete": 1, "Pruned": 3, "Fail": 1, "Waiting": 1}

        page.goto(f"{url}/trials")
        page.locator("button:has(svg[data-testid=FilterListIcon])").click()
        page.get_by_text("Pruned (3)").wait_for()

        page.goto(f"{url}/note")
        page.get_by_text("6 of 6 trials (1 complete, 3 pruned, 1 failed, 1 paused).").wait_for()
        image = page.get_by_alt_text("confusion matrix")
        page.wait_for_function("image => image.naturalWidth > 0", arg=image.element_handle())
        assert image.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [1500, 1500]
        browser.close()
    assert remote == []


def traces(page: Any, plot: str) -> Any:
    """Wait until a plot shows something; return the name and the number of points of each of its traces."""
    found = f"(document.getElementById('{plot}')?.data ?? []).map(t => [t.name, (t.x ?? []).length])"
    page.wait_for_function(f"{found}.some(([, points]) => points > 0)")
    return page.evaluate(found)
