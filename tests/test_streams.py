"""Standard output and error, paths and file names: of any encoding, full, closed, too long, with a `~`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fmnist_tune.cli.streams import READABLE
from fmnist_tune.files import user_path
from fmnist_tune.study.layout import write_atomically
from tests.conftest import TINY_SPACE, CommandLine

LONG = "x" * 300


@pytest.fixture
def space(command: CommandLine) -> Path:
    path = command.folder / "space.yaml"
    path.write_text(TINY_SPACE)
    return path


def shell(command: CommandLine, redirection: str, *words: str | bytes | Path, **variables: str) -> tuple[int, bytes]:
    """Run a command in a shell with a redirection; returns its exit code and what it wrote to what is left open."""
    line = f'exec "$@" {redirection}'
    arguments = ["/bin/sh", "-c", line, "sh", sys.executable, "-m", "fmnist_tune.cli", *words]
    environment = {**command.environment, **variables}
    run = subprocess.run(arguments, cwd=command.folder, env=environment, capture_output=True, timeout=300, check=False)
    return run.returncode, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("redirection", "words", "code", "said"),
    [
        (">/dev/full", ("check", "space.yaml"), 2, "standard output cannot be written to: No space left"),
        (">/dev/full", ("check", "--help"), 2, "standard output cannot be written to: No space left"),
        (">&-", ("check", "space.yaml", "--json"), 0, ""),
        ("2>&- >&- <&-", ("check", "absent.yaml"), 2, ""),
        ("2>/dev/full", ("check", "absent.yaml"), 2, ""),
    ],
)
def test_a_full_or_closed_stream_is_no_traceback(
    command: CommandLine, space: Path, redirection: str, words: tuple[str, ...], code: int, said: str
) -> None:
    found, output = shell(command, redirection, *words)
    assert found == code
    assert said in output.decode()
    assert b"Traceback" not in output


def test_a_terminal_of_another_encoding_gets_what_it_can_show(command: CommandLine) -> None:
    words = ("data", "--data-dir", command.data_dir)
    code, plain = shell(command, "", *words, PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", LC_ALL="C")
    assert code == 0
    assert b"Ankle boot      60    10  ##############################" in plain
    assert plain.isascii()


def test_what_an_encoding_lacks_has_a_substitute_and_a_names_bytes_stay() -> None:
    name = os.fsdecode(b"a\xff.png")
    assert f"{name}: 90 % ± 1 % █ 鞋".encode("ascii", READABLE) == b"a\xff.png: 90 % +/- 1 % # ?"
    assert "± é 鞋".encode("iso-8859-1", READABLE) == b"\xb1 \xe9 ?"


def test_a_name_that_is_not_utf_8_is_read_and_named(command: CommandLine, space: Path) -> None:
    path = os.fsencode(command.folder) + b"/sp\xff.yaml"
    Path(os.fsdecode(path)).write_text(TINY_SPACE)
    assert command.here("check", os.fsdecode(path)).code == 0
    code, output = shell(command, "", "check", path[:-5])
    assert code == 2
    assert "sp\ufffd: no such file" in output.decode()


@pytest.mark.parametrize(
    "words",
    [
        ("check", LONG),
        ("search", "space.yaml", "--studies-dir", LONG),
        ("studies", "--studies-dir", LONG),
        ("show", "s", "--storage", f"sqlite:///{LONG}"),
        ("data", "--data-dir", LONG),
        ("report", "s", "--studies-dir", LONG),
        ("search", "space.yaml", "--data-dir", LONG),
    ],
)
def test_a_name_that_is_too_long_is_one_message(command: CommandLine, space: Path, words: tuple[str, ...]) -> None:
    data = () if "--data-dir" in words else ("--data-dir", command.data_dir)
    run = command.here(*words, *data)
    assert run.code == 2
    assert run.err.count("\n") == 1
    assert run.err.startswith("fmnist-tune: ")
    assert LONG in run.err
    assert "File name too long" in run.err


def test_a_file_is_written_whatever_the_length_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    write_atomically(path, "text")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(path.name, "text")]


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomically(tmp_path / "taken", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_tilde_is_the_home_directory_wherever_a_path_is_given(
    command: CommandLine, space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = command.folder / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    command.environment["HOME"] = str(home)
    space.rename(home / "space.yaml")
    assert user_path("~/x") == home / "x"
    assert command.here("check", "~/space.yaml").code == 0
    assert f"{home}/mine/studies.db: no studies yet" in command.here("studies", "--studies-dir=~/mine").err
    assert f"{home}/my.db: no studies yet" in command.here("studies", "--storage=sqlite:///~/my.db").err
    assert not (command.folder / "~").exists()


def test_weights_in_yaml_may_be_in_the_home_directory(command: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from torchvision.models import get_model

    from fmnist_tune.models.backbone import Backbone
    from fmnist_tune.models.torchvision import Torchvision
    from fmnist_tune.tasks.images.fashion_mnist import FASHION_MNIST

    monkeypatch.setenv("HOME", str(command.folder))
    section = Torchvision(name="torchvision", architecture="squeezenet1_1", weights="~/mine.pth", image_size=32)
    known = get_model("squeezenet1_1").state_dict()
    torch.save(known, command.folder / "mine.pth")
    built = Backbone(section, FASHION_MNIST).state_dict()
    name = next(
        key for key in built if key.endswith("features.3.squeeze.weight")
    )  # a layer behind the first, which is changed
    assert torch.equal(built[name], known["features.3.squeeze.weight"])


def test_a_pipe_that_does_not_block_loses_lines_but_no_result() -> None:
    code = """
import os, sys
from fmnist_tune.cli.streams import standard_streams
for number in (1, 2):
    os.set_blocking(number, False)
with standard_streams():
    for _ in range(20_000):
        print("progress", file=sys.stderr)
    print("x" * 300_000)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert len(process.stdout.read()) == 300_001  # stderr is read by nobody meanwhile, and is full
        assert process.wait(60) == 0
        assert set(process.stderr.read().splitlines()[:100]) == {b"progress"}
