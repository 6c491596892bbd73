"""Fetching the data set when it is missing."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

from fmnist_tune.data.fashion_mnist import (
    DEBIAN_DIR,
    FILES,
    cache_dir,
    check_file,
    find_file,
    has_part,
    load_part,
)
from fmnist_tune.errors import UserError, near_file
from fmnist_tune.tasks.images.data_set import Part

DEBIAN_PACKAGE = "dataset-fashion-mnist"
CONNECT_TIMEOUT_S = 20.0
APT_TIMEOUT_S = 300.0
# Errors of fetching, including those caused by a proxy's nonsense.
REFUSALS = (OSError, ValueError, RuntimeError, ImportError, HTTPException, subprocess.SubprocessError, UserError)

Log = Callable[[str], None]


def locate_data(data_dir: Path | None, log: Log) -> Path:
    """Return a folder with the training files; fetch them into the cache if there is none yet.

    Only `data_dir` is tried if it is given. Otherwise the order is: the cache, the folder of Debian's package,
    torchvision's download, Debian's archive.

    Args:
        data_dir: the user's own copy; nothing is fetched into it.
        log: receives progress messages.

    Raises:
        UserError: `data_dir` lacks the files, or nothing could be fetched.
    """
    if data_dir is not None:
        try:
            is_folder = stat.S_ISDIR(os.stat(data_dir).st_mode)
        except FileNotFoundError:
            raise UserError(f"--data-dir {data_dir}: no such directory{near_file(data_dir)}") from None
        except OSError as error:
            raise UserError(f"--data-dir {data_dir}: {error.strerror}") from None
        if not is_folder:
            raise UserError(f"--data-dir {data_dir}: not a directory")
        return data_dir  # reading it names what is missing or wrong
    with suppress(UserError):  # without a home there is no cache
        if has_part(cache_dir(), "train"):
            return cache_dir()
    if has_part(DEBIAN_DIR, "train"):
        return DEBIAN_DIR
    return fetch_data(cache_dir(), log)


def fetch_data(folder: Path, log: Log) -> Path:
    """Fetch and verify all four files, then add the missing ones to a folder.

    Returns:
        The folder.

    Raises:
        UserError: the folder has a different file of the same name, which is left as it is. Or no source had the
            published files; names each source's error.
    """
    for name in (*FILES["train"], *FILES["test"]):
        check_file(folder, name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder).cleanup()
    except OSError as error:
        raise UserError(
            f"{folder}: the data set cannot be put there: {error.strerror}; "
            "`fmnist-tune data --data-dir DIR` fetches it into another folder, which --data-dir names from then on"
        ) from None
    refusals = []
    for name, source in (("torchvision", _from_torchvision), ("Debian's archive", _from_debian)):
        log(f"fetching Fashion-MNIST (30 MB) through {name} ...")
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder.absolute()) as work:
            try:
                _install(source(Path(work)), folder)
            except REFUSALS as error:
                refusals.append(f"{name}: {_one_line(error)}")
                log(f"  {refusals[-1]}")
                continue
        log(f"  verified, kept in {folder}")
        return folder
    raise UserError(
        "Fashion-MNIST could not be fetched; put its four .gz files into a folder and name it with --data-dir\n  "
        + "\n  ".join(refusals)
    )


def _install(found: Path, folder: Path) -> None:
    parts: tuple[Part, Part] = ("train", "test")
    for part in parts:
        load_part(found, part)
    for name in (*FILES["train"], *FILES["test"]):
        path = find_file(found, name)
        assert path is not None  # load_part has just read it
        if find_file(folder, name) is None:
            os.replace(path, folder / path.name)


def _from_torchvision(work: Path) -> Path:
    from torchvision.datasets import FashionMNIST

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECT_TIMEOUT_S)
    try:
        FashionMNIST(str(work), download=True)
    finally:
        socket.setdefaulttimeout(before)
    return work


def _from_debian(work: Path) -> Path:
    """Download and unpack Debian's package; neither step needs root."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise UserError(f"{tool} is not on this machine")
    try:
        _run(["apt-get", "download", DEBIAN_PACKAGE], work)
    except subprocess.CalledProcessError:
        # Package lists are missing or old: fetch our own, since only root can update the system's.
        private = work / "apt"
        for sub in ("lists/partial", "cache/archives/partial"):
            (private / sub).mkdir(parents=True)
        options = ["-o", f"Dir::State::Lists={private / 'lists'}", "-o", f"Dir::Cache={private / 'cache'}"]
        if os.geteuid() == 0:
            options += ["-o", "APT::Sandbox::User=root"]
        update = _run(["apt-get", *options, "update"], work, check=False)
        try:  # one unreachable source makes update fail even if Debian's own answered
            _run(["apt-get", *options, "download", DEBIAN_PACKAGE], work)
        except subprocess.CalledProcessError as error:
            raise UserError(f"apt-get download {DEBIAN_PACKAGE}: {_last_line(error.stderr or update.stderr)}") from None
    (package,) = work.glob(f"{DEBIAN_PACKAGE}_*.deb")
    _run(["dpkg-deb", "-x", str(package), "tree"], work)
    return work / "tree" / DEBIAN_DIR.relative_to("/")


def _run(command: list[str], work: Path, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=work, capture_output=True, text=True, errors="replace", timeout=APT_TIMEOUT_S, check=check
    )


def _one_line(error: BaseException) -> str:
    return _last_line(str(error)) or type(error).__name__


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
