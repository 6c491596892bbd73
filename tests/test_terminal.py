"""What is written to a terminal, to a notebook's cell and into a pipe."""

from __future__ import annotations

import os
import pty
import re
import subprocess

import pytest

from tests.conftest import CommandLine

CURSOR = re.compile(r"\x1b\[(\?25[lh]|\d*[ABCDJK])")  # hides the cursor, moves it or clears
COLOUR = re.compile(r"\x1b\[[\d;]*m")


def in_terminal(command: CommandLine, *words: str, **environment: str) -> str:
    """Run a command in a terminal; returns all that it wrote."""
    ours, theirs = pty.openpty()
    inherited = {k: v for k, v in command.environment.items() if k not in ("NO_COLOR", "FORCE_COLOR", "JPY_PARENT_PID")}
    process = subprocess.Popen(
        command.arguments(*words),
        cwd=command.folder,
        env={**inherited, "TERM": "xterm-256color", **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        close_fds=True,
    )
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 65_536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    assert process.wait(timeout=60) == 0, parts
    return b"".join(parts).decode()


@pytest.mark.parametrize(
    ("options", "environment", "is_live", "has_styles"),
    [
        ((), {}, True, True),
        ((), {"NO_COLOR": "1"}, True, True),
        ((), {"TERM": "dumb"}, False, False),
        (("--plain",), {"FORCE_COLOR": "1"}, False, False),
        (("--quiet",), {}, False, True),
        ((), {"JPY_PARENT_PID": "1"}, False, True),
        ((), {"TERM": "xterm-color", "GIT_PAGER": "cat", "FORCE_COLOR": "1"}, False, True),
    ],
)
def test_only_what_can_move_its_cursor_gets_a_live_view(
    command: CommandLine, options: tuple[str, ...], environment: dict[str, str], is_live: bool, has_styles: bool
) -> None:
    text = in_terminal(command, "data", "--data-dir", str(command.data_dir), *options, **environment)
    assert "T-shirt/top" in text
    assert bool(CURSOR.search(text)) == is_live
    assert bool(COLOUR.search(text)) == has_styles


def test_a_pipe_gets_no_escape_sequences_whatever_colours_are_forced(command: CommandLine) -> None:
    command.environment["FORCE_COLOR"] = "1"
    process = command.start("data", "--data-dir", command.data_dir, "--plain")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, "\x1b" in out + err) == (0, False)
    process = command.start("data", "--data-dir", command.data_dir)
    _, err = process.communicate(timeout=60)
    assert not CURSOR.search(err)


def test_quiet_leaves_errors_and_the_result(command: CommandLine) -> None:
    (command.folder / "space.yaml").write_text("study: r\nmodel: {name: mlp, hidden: [8]}\ndata: {val_size: 100}\n")
    words = ("space.yaml", "--data-dir", command.data_dir, "--steps", "20", "--quiet")
    run = command.here("find-lr", *words)
    assert (run.code, run.err) == (0, "")
    assert "suggested" in run.out
    run = command.here("find-lr", *words, "--from", "2")
    assert (run.code, run.out) == (2, "")
    assert "--from 2" in run.err
