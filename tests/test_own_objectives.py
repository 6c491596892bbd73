"""An objective, and a task, that are not ours: figures in their own format, and mistakes in them blamed on them."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fmnist_tune.cli import main
from fmnist_tune.config import read_space
from fmnist_tune.document.blocks import Table
from fmnist_tune.errors import UserError
from fmnist_tune.evaluation import paired, spread
from fmnist_tune.report import study_info
from fmnist_tune.report.run import write_report
from fmnist_tune.report.study_figures import curves_figure, history_figure, parallel_figure, slices_figure
from fmnist_tune.report.study_part import climbing
from fmnist_tune.retrain.jobs import JobSource
from fmnist_tune.retrain.progress import TrainingProgress
from fmnist_tune.retrain.seeds import SeedStore
from fmnist_tune.retrain.top_k import Candidate, Confirmation, confirmation_section
from fmnist_tune.search.display import Display
from fmnist_tune.search.driver import Driver
from fmnist_tune.search.events import Event
from fmnist_tune.search.pace import Pace
from fmnist_tune.study.seed_results import Plan
from fmnist_tune.tasks import Objective
from tests.plugins.my_waves import Explained
from tests.studies import drive, open_study, report

WAVES = """\
study: waves
task: TASK
search: {trials: 4, sampler: {name: random, seed: 0}, pruner: {name: asha, min_epochs: 2, reduction_factor: 2}}
model: {name: net, width: {int: [2, 16]}}
training: {epochs: 4, optimizer: {name: adam, lr: {float: [1e-2, 1e-1], log: true}}}
"""
CURVE = [0.5, 0.7, 0.8, 0.9123]


def searched(folder: Path, task: str = "tests.plugins.my_waves:Waves", events: list[Event] | None = None) -> Driver:
    """Return a search of the waves: a trial trained to its end, another paused after two of four epochs."""
    driver = drive(open_study(folder, WAVES.replace("TASK", task)), events)
    for number, stop in ((0, "epochs"), (1, None)):
        assert driver.next_assignment() is not None
        curve = CURVE if stop else [0.5, 0.6]
        driver.on_report(report(number, curve, stop=stop, n_new=len(curve)))
    return driver


def drawn(renderable: Any) -> str:
    console = Console(file=io.StringIO(), width=120, color_system=None)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


def test_a_search_shows_the_figures_of_an_own_task_in_its_format(tmp_path: Path) -> None:
    events: list[Event] = []
    driver = searched(tmp_path, events=events)
    assert driver.next_assignment() is not None
    driver.on_report(report(2, [0.4567]))
    display = Display(Console(file=io.StringIO()), "waves", started=time.monotonic())
    display.attach(driver)
    view = drawn(display.view(120))
    assert "val explained variance" in view
    assert "0.457" in view
    assert "%" not in view.replace("epoch 2, 0 %", "")
    assert "trial 2: 1/4 epochs at 0.457" in display.status()
    texts = {event.kind: event.text for event in events if event.kind != "epoch"}
    assert texts["complete"] == "0.912"
    assert texts["paused"].startswith("0.600 at epoch 2, rank 2/2")


def test_a_retraining_shows_the_figures_of_an_own_task_in_its_format(tmp_path: Path) -> None:
    record = searched(tmp_path).record
    plan = Plan("trial-0", "trial 0", record.config_of(record.trials[0]), 4, with_val=True)
    jobs = SeedStore(record).jobs([plan], range(1), n_threads=1)
    progress = TrainingProgress(Console(file=io.StringIO()), time.monotonic(), record.objective)
    source = JobSource(
        jobs, record.hold, pace=Pace(), epoch_timeout_s=60, say=progress.line, keep=lambda job, report: None
    )
    progress.attach(source)
    assert source.next_assignment() is not None
    source.on_report(report(0, [0.5, 0.4567], n_new=2))
    assert "val explained variance" in drawn(progress.view(120))
    assert "trial 0, seed 0: 2/4 epochs at 0.457" in progress.status()


def test_a_report_has_the_figures_of_an_own_task_in_its_format(tmp_path: Path) -> None:
    record = searched(tmp_path).record
    paths = write_report(record, None, log=print)
    text = (paths.html.parent / "report.md").read_text()
    assert "| Best on validation | 0.912 (trial 0, 4 epochs) |" in text
    assert "Explained variance 0.912 (4 epochs, 7 parameters, 4 s)." in text
    assert "Trial 0 still climbed 0.1123 over the last third of 4 epochs" in text
    assert "Explained variance by epoch; a dot is where a trial stands. Numbers: `curves.csv`." in text
    assert "then by their latest explained variance" in text
    assert "accuracy" not in text
    assert "validation image" not in text


@pytest.mark.parametrize(("objective", "is_percent"), [(Objective(), True), (Explained(), False)])
def test_plots_have_an_objective_in_its_format_too(tmp_path: Path, objective: Objective, is_percent: bool) -> None:
    record = searched(tmp_path).record
    rows = study_info.trial_rows(record.trials, record.space, is_running=False)
    figures = {
        "history": history_figure(study_info.history(rows), objective),
        "slices": slices_figure(study_info.slices(rows, record.space, 0), objective),
        "curves": curves_figure(study_info.curves(rows, 0), objective),
    }
    for name, figure in figures.items():
        figure.canvas.draw()
        ticks = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert {tick.endswith("%") for tick in ticks} == {is_percent}, name
    assert figures["curves"].axes[0].get_ylabel() == objective.label
    texts = [
        text.get_text() for text in parallel_figure(study_info.parallel(rows, record.space), objective).axes[0].texts
    ]
    assert ("91.23%" if is_percent else "0.9123") in texts


def test_differences_are_in_points_or_in_the_unit_of_an_own_objective() -> None:
    shares, own = Objective(), Explained()
    assert (shares.difference(0.0123), own.difference(-0.0123)) == ("+1.23 points", "-0.0123")
    (finding,) = climbing(study_info.Climb((1,), -0.5, 9), "constant", own)
    assert finding.text == "Trial 1 no longer climbs: -0.5 over the last third of 9 epochs."
    first, second = [0.9, 0.92, 0.94], [0.8, 0.85, 0.81]
    candidates = (Candidate(3, 0.91, spread(first)), Candidate(1, 0.92, spread(second)))
    table, text = confirmation_section(Confirmation(candidates, paired(first, second)), own).blocks
    assert isinstance(table, Table)
    assert table.rows[0] == ("3", "0.910", "0.920", "0.02")
    assert "(paired over seeds: +0.1, 95 % interval " in str(text)
    table, text = confirmation_section(Confirmation(candidates, paired(first, second)), shares).blocks
    assert isinstance(table, Table)
    assert table.rows[0] == ("3", "91.00 %", "92.00 %", "2.00 points")
    assert "(paired over seeds: +10.00 points, 95 % interval " in str(text)


def own(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str) -> str:
    """Write a module with a task X, and return the task's name in a file."""
    (folder / f"{name}.py").write_text(f"from tests.plugins.my_waves import *\n\n{code}\n")
    monkeypatch.chdir(folder)
    return f"{name}:X"


OBJECTIVE = "class O(Explained):\n    {}\nclass X(Waves):\n    objective = O()"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("class X(Waves):\n    objective = 3", "{X}: objective is 3; it must be of type fmnist_tune.tasks.Objective"),
        ("class X(Waves):\n    objective = Explained", "{X}: objective is <class 'tests.plugins.my_waves.Explained'>; it must be of"),
        ("class X(Waves):\n    @property\n    def objective(self): return 1 / 0", "{X} raised ZeroDivisionError: division by zero ({n}.py, line 5)"),
        (OBJECTIVE.format("def text(self, value): return 1 / 0"), "{n}:O: text raised ZeroDivisionError: division by zero ({n}.py, line 4)"),
        (OBJECTIVE.format("def text(self, value): return value"), "{n}:O: text returned a float; it must be of type str"),
        (OBJECTIVE.format("def sentence(self, value): return None"), "{n}:O: sentence returned a NoneType; it must be of type str"),
        (OBJECTIVE.format("label = None"), "{n}:O: label is None; it must be of type str"),
        ("class X(Waves):\n    title = 3", "{X}: title is 3; it must be of type str"),
        ("class X(Waves):\n    def title_of(self, space): return 1 / 0", "{X}: title_of raised ZeroDivisionError: division by zero ({n}.py, line 4)"),
        ("class X(Waves):\n    def title_of(self, space): return None", "{X}: title_of returned a NoneType; it must be of type str"),
        ("class X(Waves):\n    compares_validation = 'yes'", "{X}: compares_validation is 'yes'; it must be of type bool"),
        ("class X(Waves):\n    report_files = 'a.png'", "{X}: report_files is 'a.png'; it must be of type tuple"),
    ],
)  # fmt: skip
def test_an_objective_or_a_title_that_fails_or_is_of_another_type_is_refused_at_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: str, message: str
) -> None:
    name = f"broken_{abs(hash((code, message)))}"
    task = own(tmp_path, monkeypatch, name, code)
    Path("s.yaml").write_text(WAVES.replace("TASK", task))
    assert main(["check", "s.yaml"]) == 2
    out, err = capsys.readouterr()
    assert message.format(X=task, n=name) in " ".join(err.split())
    assert "Traceback" not in err + out


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("def value_of(self, config, history): return 1 / 0", "{n}:O: value_of raised ZeroDivisionError: division by zero ({n}.py, line 4)"),
        ("def value_of(self, config, history): return None", "{n}:O: value_of returned a NoneType; it must be of type Real"),
        ("def attributes_of(self, config, history): return 3", "{n}:O: attributes_of returned a int; it must be of type dict"),
        ("def attributes_of(self, config, history): return {{'a': self}}", "{n}:O: attributes_of returned what a study cannot record as JSON"),
    ],
)  # fmt: skip
def test_a_value_that_an_own_objective_cannot_give_ends_the_search_and_loses_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, message: str
) -> None:
    name = f"broken_{abs(hash(method))}"
    task = own(tmp_path, monkeypatch, name, OBJECTIVE.format(method.format()))
    driver = drive(
        open_study(
            tmp_path,
            WAVES.replace("TASK", task).replace("asha", "none").replace("min_epochs: 2, reduction_factor: 2", ""),
        )
    )
    assert driver.next_assignment() is not None
    with pytest.raises(UserError) as caught:
        driver.on_report(report(0, CURVE, stop="epochs", n_new=4))
    assert message.format(n=name) in str(caught.value)
    assert not driver.record.trials[0].state.is_finished()


def test_what_a_method_of_an_own_class_raises_ends_a_command_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "def text(self, value):\n        return f'{value:.3f}' if value < 0.9 else 1 / 0"
    task = own(tmp_path, monkeypatch, "own_text", OBJECTIVE.format(code))
    Path("studies").mkdir()
    with pytest.raises(ZeroDivisionError):
        searched(Path("studies"), task)
    assert main(["show", "waves"]) == 2
    err = capsys.readouterr().err
    assert err == "fmnist-tune: own_text:O.text raised ZeroDivisionError: division by zero (own_text.py, line 5)\n"


def test_an_own_objective_may_give_any_kind_of_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = OBJECTIVE.format(
        "def value_of(self, config, history):\n        import numpy as np\n        return np.float32(1.5)"
    )
    driver = searched(tmp_path, own(tmp_path, monkeypatch, "own_numbers", code))
    assert driver.record.trials[0].value == 1.5


def test_a_task_is_made_once() -> None:
    space = read_space(WAVES.replace("TASK", "tests.plugins.my_waves:Waves"), "s.yaml")
    assert space.task is space.task
