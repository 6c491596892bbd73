"""What the live view of a search says."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from fmnist_tune.search.display import Display
from tests.studies import drive, open_study, report

SPACE = "study: s\nmodel: {name: mlp}\nsearch: {trials: 4, pruner: {name: none}}\ntraining: {epochs: 1}\n"


@pytest.mark.parametrize(("left_s", "share"), [(None, 0.25), (90.0, 0.25), (10.0, 0.75)])
def test_the_bar_is_as_long_as_the_trials_or_the_time_that_is_done(
    tmp_path: Path, left_s: float | None, share: float
) -> None:
    driver = drive(open_study(tmp_path, SPACE))
    assert driver.next_assignment() is not None
    driver.on_report(report(0, [0.9], stop="epochs"))
    driver.deadline.at = None if left_s is None else time.monotonic() + left_s
    display = Display(Console(file=io.StringIO()), "s", started=time.monotonic() - 30)
    assert display.share_done() == 0
    display.attach(driver)
    assert display.share_done() == pytest.approx(share, abs=0.01)
