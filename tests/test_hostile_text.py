"""One study whose texts were written by somebody else: every command and the dashboard show them, and obey none."""

from __future__ import annotations

import re
import urllib.request

import optuna
import pytest
from optuna.artifacts import upload_artifact
from optuna_dashboard import save_note

from fmnist_tune.escaping import as_code, in_table
from fmnist_tune.study.dashboard import artifact_store
from fmnist_tune.study.database import database_url, open_database
from fmnist_tune.study.record import StudyRecord
from tests.conftest import CommandLine, Result
from tests.studies import drive, open_study, report
from tests.test_dashboard import CHROMIUM, WAIT_MS, running

SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
HOSTILE = (
    f"[/data/x.png] [enforce fail at alloc.cpp:1] [bold red]shout[/] :boom: {SCRIPT} | `tick ``` *star* "
    "\x1b[2J\x1b]0;owned\x07 \u202egnp.exe [click](javascript:alert(1)) $x$\n\n# A heading\n\n```\nfence"
)
SHOWN = (
    "[/data/x.png] [enforce fail at alloc.cpp:1] [bold red]shout[/] :boom: <script>",
    "[click](javascript:alert(1))",
)


@pytest.fixture
def record(command: CommandLine) -> StudyRecord:
    """A complete trial, one that waits and one that failed, whose attributes say the worst."""
    folder = command.folder / "studies"
    folder.mkdir()
    record = open_study(folder, search__trials=3)
    driver = drive(record)
    for _ in range(3):
        assert driver.next_assignment() is not None
    driver.on_report(report(0, [0.5, 0.6, 0.7, 0.8], stop="trained", n_new=4))
    driver.on_report(report(2, [0.5], failure=HOSTILE))
    for key in ("ran_on", "trouble", "stop_reason"):
        driver.writer.note_progress(1, [], {key: HOSTILE})
    driver.release_all()
    with_attributes = optuna.load_study(study_name="s", storage=database_url(folder))
    with_attributes.set_user_attr("owner", HOSTILE)
    save_note(with_attributes, HOSTILE)
    page = command.folder / "page.html"
    page.write_text(SCRIPT)
    store = artifact_store(folder)
    upload_artifact(study_or_trial=with_attributes, file_path=str(page), artifact_store=store, mimetype="text/html")
    return StudyRecord.load(open_database(database_url(folder), create=False), record.paths)


def check_terminal(result: Result) -> str:
    """Return what a command printed, none of which controls a terminal."""
    assert result.code == 0, result.err
    text = result.out + result.err
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)
    return text


def test_show_prints_reasons_as_they_are(command: CommandLine, record: StudyRecord) -> None:
    text = check_terminal(command("show", "s"))
    for part in SHOWN:
        assert part in " ".join(text.split())


def test_the_list_of_studies_and_an_exported_failure_obey_nothing(command: CommandLine, record: StudyRecord) -> None:
    assert "s " in check_terminal(command("studies"))
    text = check_terminal(command("export", "s", "--trial", "2"))
    assert SHOWN[0] in text
    recipe = command.folder / "recipe.yaml"
    recipe.write_text(command("export", "s", "--trial", "2").out)
    assert command("check", recipe).code == 0


def test_a_report_escapes_what_it_quotes(command: CommandLine, record: StudyRecord) -> None:
    check_terminal(command.here("report", "s"))
    folder = record.paths.folder / "report"
    html, markdown = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    for text in (html, markdown):
        assert "enforce fail" in text
        assert "\x1b" not in text
    assert "<script" not in html
    assert "<img src=x" not in html
    without_code = re.sub(r"^```.*?^```$|`[^`]*`", "", markdown, flags=re.DOTALL | re.MULTILINE)
    assert not re.search(r"<script|<img|(?<!\\)\[click\]|^# A heading", without_code, flags=re.MULTILINE)


@pytest.mark.browser
def test_an_artifact_of_any_type_runs_nothing(command: CommandLine, record: StudyRecord) -> None:
    artifact = next(iter(optuna.artifacts.get_all_artifact_meta(record.optuna)))
    assert artifact.mimetype == "text/html"
    with running(command) as started:
        root = started["url"].removesuffix("/dashboard")
        with urllib.request.urlopen(f"{root}/artifacts/1/{artifact.artifact_id}") as answer:
            assert answer.headers["Content-Type"] == "application/octet-stream"
            assert answer.headers["Content-Disposition"] == "attachment"
            assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
            assert answer.read().decode() == SCRIPT


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on PATH")
def test_the_dashboard_runs_nothing_that_a_study_says(command: CommandLine, record: StudyRecord) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with running(command) as started, sync_api.sync_playwright() as playwright:
        url = started["studies"][0]["url"]
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = chromium.new_page()
        page.set_default_timeout(WAIT_MS)
        for part in ("", "note", "trials?numbers=2"):
            page.goto(f"{url}/{part}")
            page.get_by_text("enforce fail").first.wait_for()
            assert page.locator("img[src=x]").count() == 0
            assert page.title() != "owned"
        chromium.close()


def test_code_in_a_table_stays_in_its_cell_whatever_its_backslashes() -> None:
    assert in_table(as_code("a|b")) == r"`a\|b`"
    assert in_table(as_code("a\\|<img>")) == r"`a\\\|<img>`"
