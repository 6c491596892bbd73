"""What starting Ray here needs of its machine: a path to the interpreter, a folder, a token."""

from __future__ import annotations

import atexit
import importlib.util
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from fmnist_tune.errors import UserError

# Ray's longest path below its folder. The kernel allows 107 bytes for the path of a socket.
SOCKET = "ray/session_2026-11-30_10-24-16_756731_4194304/sockets/plasma_store"
FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
PREFIX = "fmnist-tune-"
LINK = "FMNIST_TUNE_LINK"  # set in a program run through a link: the link's folder


def run_from_plain_path() -> None:
    """Restart this program through a symbolic link if Ray would split the path of its interpreter.

    Ray 2.60 splits its processes' commands as a shell does, so quotes and backslashes in a path are lost.

    Raises:
        UserError: no link helps.
    """
    if LINK in os.environ:
        atexit.register(_remove_link, Path(os.environ.pop(LINK)))
    ray = importlib.util.find_spec("ray")
    paths = [Path(sys.executable), *([] if ray is None or ray.origin is None else [Path(ray.origin)])]
    if all(map(_is_one_word, paths)):
        return
    prefix = Path(sys.prefix)
    folder = _private_folder([]) if all(path.is_relative_to(prefix) for path in paths) else None
    if folder is None:
        raise UserError(
            f"{sys.prefix}: Ray cannot be started below a folder with these characters in its path; "
            "install fmnist-tune below one without quotes and backslashes"
        )
    link = folder / "python"
    link.symlink_to(prefix)
    python = str(link / paths[0].relative_to(prefix))
    os.execve(python, [python, *sys.orig_argv[1:]], {**os.environ, LINK: str(folder)})


def _remove_link(folder: Path) -> None:
    with suppress(OSError):
        (folder / "python").unlink()
        folder.rmdir()


def check_text() -> None:
    """Check that what Ray passes from this process to its own is UTF-8.

    Raises:
        UserError: something is not; names it.
    """
    for what, text in (
        ("the current folder", os.getcwd()),
        ("the interpreter", sys.executable),
        *(("the command line", word) for word in sys.orig_argv),
    ):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UserError(
                f"{what}: {text!a} is not UTF-8, which Ray cannot take; rename it, or use a symbolic link to it"
            ) from None


def py_executable() -> str:
    """Return the interpreter as Ray's `py_executable`, which is part of a shell's command line."""
    return shlex.quote(sys.executable)


def give_token() -> None:
    """Give Ray a token for this process; Ray's own would be kept in the home folder, which may not be writable."""
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def find_folder() -> Path:
    """Return a folder for Ray's session; a private one if the usual one is unusable.

    Raises:
        UserError: no folder is usable.
    """
    usual = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")
    problems = [problem] if (problem := _problem(usual)) else []
    if not problems:
        return usual
    private = _private_folder(problems)
    if private is None:
        raise UserError(
            "Ray finds no folder for its session; RAY_TMPDIR can name one with a short path\n  " + "\n  ".join(problems)
        )
    atexit.register(_remove, private)
    os.environ["RAY_TMPDIR"] = str(private)
    return private


def keep_folder() -> None:
    """Keep a private folder, since a message has pointed the user to it."""
    atexit.unregister(_remove)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _private_folder(problems: list[str]) -> Path | None:
    """Make a folder usable by Ray; add to `problems` why others are not."""
    for place in filter(None, (*FOLDERS, os.environ.get("XDG_RUNTIME_DIR"))):
        try:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        except OSError as error:
            problems.append(f"{place}: {error.strerror or error}")
            continue
        problem = _problem(folder)
        if problem is None:
            return folder
        problems.append(problem)
        _remove(folder)
    return None


def _problem(folder: Path) -> str | None:
    """Return why Ray cannot keep its session in a folder; None if it can."""
    if not str(folder).isascii() or not _is_one_word(folder):
        return f"{folder}: Ray takes neither quotes nor backslashes nor letters beyond ASCII there"
    if (folder / "ray").exists() and not os.access(folder / "ray", os.W_OK | os.X_OK):
        return f"{folder / 'ray'}: cannot be written to"
    try:
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir=folder) as name, socket.socket(socket.AF_UNIX) as probe:
            (Path(name) / "file").write_bytes(bytes(2**16))
            probe.bind(str(Path(name) / "s".ljust(len(SOCKET) - len(Path(name).name) - 1, "-")))
    except OSError as error:
        return f"{folder}: {error.strerror or error}"
    return None


def _is_one_word(path: Path) -> bool:
    try:
        return shlex.split(subprocess.list2cmdline([str(path)])) == [str(path)]
    except ValueError:  # an unclosed quote
        return False
