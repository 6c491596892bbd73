"""Ray is started where paths, folders and users are not what it expects; or the reason is said."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from fmnist_tune.data.fashion_mnist import cache_dir
from fmnist_tune.data.fetch import fetch_data
from fmnist_tune.errors import UserError
from fmnist_tune.search.session import find_folder
from fmnist_tune.search.worker_start import last_complaint
from tests.conftest import TINY_SPACE, CommandLine

RECIPE = "study: plain\nmodel: {name: mlp, hidden: [8]}\ntraining: {epochs: 1, batch_size: 32}\ndata: {val_size: 100}\n"


def run_below(command: CommandLine, folder: str, *words: str | Path) -> tuple[int, str, str]:
    """Run a command with an interpreter below a folder of that name, which is a link to the real one."""
    link = command.folder / folder
    link.mkdir()
    (link / "venv").symlink_to(sys.prefix)
    executable = str(link / "venv" / Path(sys.executable).relative_to(sys.prefix))
    elsewhere = CommandLine(command.folder, command.environment, command.data_dir, command.processes, executable)
    process = elsewhere.start(*words)
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


@pytest.mark.ray
def test_a_retraining_runs_with_spaces_and_signs_in_every_path(command: CommandLine) -> None:
    (command.folder / "recipe.yaml").write_text(RECIPE)
    data = shutil.copytree(command.data_dir, command.folder / "Dät a'; $HOME")
    words = ("recipe.yaml", "--seeds", "1", "--data-dir", data, "--studies-dir", "My 'studies' \t$1", "--json")
    code, out, err = run_below(command, "My Projects; $HOME (ü)", "train", *words)
    assert code == 0, err
    assert '"epochs": 1' in out


@pytest.mark.ray
def test_a_search_runs_without_a_home_below_a_quote_with_a_temporary_folder_that_ray_cannot_take(
    command: CommandLine,
) -> None:
    (command.folder / "space.yaml").write_text(TINY_SPACE.replace("trials: 4", "trials: 1"))
    temporary = command.folder / f"ü{80 * 'x'}"
    temporary.mkdir()
    command.environment.update({"HOME": "/nonexistent", "TMPDIR": str(temporary)})
    command.environment.pop("RAY_TMPDIR", None)
    before = set(Path("/tmp").glob("fmnist-tune-*"))
    code, out, err = run_below(command, "O'Brien", "search", "space.yaml", "--data-dir", command.data_dir, "--json")
    assert code == 0, err
    assert '"complete": 1' in out
    assert not (temporary / "ray").exists()
    mine = [path for path in set(Path("/tmp").glob("fmnist-tune-*")) - before if (path / "python").is_symlink()]
    assert not [path for path in mine if f"{command.folder}/" in os.readlink(path / "python")]


@pytest.mark.ray
def test_a_worker_that_cannot_start_ends_the_command_with_the_reason(command: CommandLine) -> None:
    (command.folder / "recipe.yaml").write_text(RECIPE)
    empty = command.folder / "empty"
    empty.mkdir()
    command.environment["PATH"] = str(empty)  # Ray starts workers through bash
    run = command("train", "recipe.yaml", "--data-dir", command.data_dir)
    assert run.code == 2, run.err
    assert "fmnist-tune: Ray cannot start a worker: FileNotFoundError: [Errno 2] No such file or directory" in run.err
    assert "; its logs are in /" in run.err
    assert "Traceback" not in run.err


@pytest.mark.ray
def test_a_command_line_that_is_not_utf_8_is_refused(command: CommandLine) -> None:
    data = shutil.copytree(command.data_dir, command.folder / "d\udcfc")
    (command.folder / "space.yaml").write_text(TINY_SPACE)
    run = command("search", "space.yaml", "--data-dir", data)
    assert run.code == 2
    assert r"d\udcfc' is not UTF-8, which Ray cannot take; rename it, or use a symbolic link to it" in run.err
    assert "Traceback" not in run.err


def test_ray_keeps_its_usual_folder_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        monkeypatch.setenv("RAY_TMPDIR", name)
        assert find_folder() == Path(name)
        assert os.environ["RAY_TMPDIR"] == name


@pytest.mark.parametrize("name", [f"long-{88 * 'x'}", "umläut", "O'Brien", "back\\slash", "missing"])
def test_ray_gets_a_private_folder_where_the_usual_one_is_of_no_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name != "missing":
        (tmp_path / name).mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / name))
    folder = find_folder()
    try:
        assert os.environ["RAY_TMPDIR"] == str(folder)
        assert folder.parent != tmp_path / name
        assert folder.stat().st_mode & 0o077 == 0
        sockets = folder / "ray" / "session_2026-11-30_10-24-16_756731_4194304" / "sockets"
        sockets.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(str(sockets / "plasma_store"))
    finally:
        shutil.rmtree(folder)


def test_the_reason_is_what_ray_or_a_worker_said_last(tmp_path: Path) -> None:
    assert last_complaint(tmp_path) is None
    (tmp_path / "raylet.err").write_text("bash: line 1: /home/My: No such file or directory\n")
    assert last_complaint(tmp_path) == "bash: line 1: /home/My: No such file or directory"
    (tmp_path / "raylet.err").write_text(
        "[2026-11-30 10:50:14,062 C 27886 27886] (raylet) node_manager.cc:3576:  An unexpected system state has "
        "occurred. You have likely discovered a bug in Ray. Check failed: has_value() Timed out waiting for file x\n"
        "*** StackTrace Information ***\n/usr/lib/raylet(+0xff770a) [0x56] ray::operator<<()\n"
    )
    assert last_complaint(tmp_path) == "Timed out waiting for file x"
    (tmp_path / "worker-1-2-3.err").write_text(":job_id:01000000\nImportError: libtorch_cpu.so: cannot open\n")
    os.utime(tmp_path / "worker-1-2-3.err", (2e9, 2e9))
    assert last_complaint(tmp_path) == "ImportError: libtorch_cpu.so: cannot open"


def test_without_a_home_the_data_set_has_to_be_given_a_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "fmnist-tune" / "fashion-mnist"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/proc/nobody")
    assert cache_dir() == Path("/proc/nobody/.cache/fmnist-tune/fashion-mnist")
    with pytest.raises(UserError, match="--data-dir DIR` fetches it into another folder"):
        fetch_data(cache_dir(), print)
