"""A study in the dashboard as an image: `python -m benchmarks.dashboard_screenshot STUDIES_DIR STUDY OUT.png`."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

WAIT_MS = 180_000  # a study of 1,000 trials on a busy machine


def main() -> None:
    """Start the dashboard on an existing studies folder and photograph a page of a study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies_dir", type=Path, metavar="STUDIES_DIR")
    parser.add_argument("study", metavar="STUDY")
    parser.add_argument("output", type=Path, metavar="OUT.png")
    parser.add_argument("--page", choices=("", "note", "trials", "analytics"), default="", help="instead of the first")
    parser.add_argument("--width", type=int, default=1400, help="in pixels (1400)")
    parser.add_argument("--height", type=int, default=900, help="at least, in pixels (900); a note scrolls inside it")
    arguments = parser.parse_args()
    with running_dashboard(arguments.studies_dir) as studies, sync_playwright() as playwright:
        if arguments.study not in studies:
            sys.exit(f"{arguments.study}: no such study in {arguments.studies_dir}; there are {', '.join(studies)}")
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": arguments.width, "height": arguments.height})
        page.set_default_timeout(WAIT_MS)
        page.goto(f"{studies[arguments.study]}/{arguments.page}".rstrip("/"))
        wait_until_drawn(page, arguments.page)
        page.screenshot(path=arguments.output, full_page=True, animations="disabled")
        browser.close()


@contextmanager
def running_dashboard(studies_dir: Path) -> Iterator[dict[str, str]]:
    """Run `fmnist-tune dashboard` on a free port; gives the address of each study."""
    words = [sys.executable, "-m", "fmnist_tune.cli", "dashboard", "--json", "--port", "0"]
    with subprocess.Popen([*words, "--studies-dir", studies_dir], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                sys.exit("the dashboard did not start")
            yield {row["study"]: row["url"] for row in json.loads(line)["studies"]}
        finally:
            process.send_signal(signal.SIGINT)


def chromium() -> str:
    """Return the path of this machine's own Chromium."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        path = shutil.which(name)
        if path is not None:
            return path
    sys.exit("no chromium, chromium-browser or google-chrome on PATH")


def wait_until_drawn(page: Page, name: str) -> None:
    """Wait for a page's images and, where it has them, its plots."""
    page.wait_for_load_state("networkidle")
    if name == "":
        for plot in ("plot-history", "graph-timeline", "graph-intermediate-values"):
            wait_for_traces(page, plot)
    page.wait_for_function("[...document.images].every(image => image.naturalWidth > 0)")
    page.wait_for_timeout(1000)  # the plots' last animation


def wait_for_traces(page: Page, plot: str) -> Any:
    """Wait until a plot shows something; returns the name and the number of points of each of its traces."""
    traces = f"(document.getElementById('{plot}')?.data ?? []).map(t => [t.name, (t.x ?? []).length])"
    page.wait_for_function(f"{traces}.some(([, points]) => points > 0)")
    return page.evaluate(traces)


if __name__ == "__main__":
    main()
