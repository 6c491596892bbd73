"""Small real things for the tests: an IDX data set, a search space, a command line in a process of its own."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import numpy as np
import pytest

from fmnist_tune.cli import main
from fmnist_tune.data.fashion_mnist import FILES
from tests.cluster import FAIR, Cluster, ray_cluster

if TYPE_CHECKING:
    from torch import nn

TINY_SPACE = """\
study: tiny
search:
  trials: 4
  sampler: {name: tpe, seed: 0}
  pruner: {name: asha, min_epochs: 1, reduction_factor: 2}
model:
  name: mlp
  hidden: [8]
  dropout: {float: [0.0, 0.5]}
training:
  epochs: 4
  batch_size: {choice: [32, 64]}
  optimizer: {name: adam, lr: {float: [1e-3, 1e-1], log: true}}
data: {val_size: 100}
"""


# What keeps a test from being a quick one: that it starts Ray, a browser, a server or the command line, by its marks and
# fixtures; or that its module takes long by itself.
SLOW_MARKS = {"ray", "server", "browser", "real"}
SLOW_FIXTURES = {"cluster", "command", "server", "small_disk"}
SLOW_MODULES: set[str] = {
    "test_tensorboard",
    "test_backbone",
    "test_cpus",
    "test_long_trials",
    "test_saved_model",
    "test_setbacks",
    "test_simulation",
}

hypothesis.settings.register_profile("tests", deadline=None)  # how long a case takes is the machine's affair
hypothesis.settings.load_profile("tests")

READERS = ("check", "export", "show", "studies")
TRAINERS = ("search", "resume", "retrain", "train")


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write unsigned bytes as a gzipped IDX file."""
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0))


def make_pictures(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images in which class k is a bright bar at a height of its own, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 10
    images = rng.integers(0, 60, (n, 28, 28))
    for i, label in enumerate(labels):
        images[i, 2 * label + 3 : 2 * label + 6, 4:24] += rng.integers(100, 190)
    return images, labels


def save_model(folder: Path, recipe: str, module: nn.Module) -> None:
    """Write the weights and the recipe of a model folder, as a retraining leaves them."""
    from safetensors.torch import save_file  # imports torch, which not every test needs

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(recipe)
    weights = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    save_file(weights, folder / "weights.safetensors")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that `pytest -m quick` runs; let each process of pytest-xdist begin with those that take longest.

    It gives every process as many neighbouring tests, and a process that has none left some of another's last ones.
    """
    n_processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)
    items[:] = [item for start in range(n_processes) for item in items[start::n_processes]]
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        fixtures = set(item.fixturenames) if isinstance(item, pytest.Function) else set()
        if not (marks & SLOW_MARKS or fixtures & SLOW_FIXTURES or item.path.stem in SLOW_MODULES):
            item.add_marker(pytest.mark.quick)


@dataclass(frozen=True)
class TinyData:
    """A tiny data set in Fashion-MNIST's format.

    Attributes:
        folder: with the IDX files.
        md5sums: the file for FMNIST_TUNE_MD5SUMS.
    """

    folder: Path
    md5sums: Path


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> TinyData:
    """A data set of 600 training and 100 test images."""
    folder = tmp_path_factory.mktemp("data")
    sums = []
    for seed, (part, n) in enumerate((("train", 600), ("test", 100))):
        for name, array in zip(FILES[part], make_pictures(n, seed), strict=True):
            path = folder / f"{name}.gz"
            write_idx(path, array)
            digest = hashlib.md5(gzip.decompress(path.read_bytes()), usedforsecurity=False).hexdigest()
            sums.append(f"{digest}  {name}\n")
    md5sums = folder / "MD5SUMS"
    md5sums.write_text("".join(sums))
    return TinyData(folder, md5sums)


@contextlib.contextmanager
def only_environment(values: Mapping[str, str]) -> Iterator[None]:
    """Give this process other environment variables, these alone."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its standard output as JSON."""
        return json.loads(self.out)


@dataclass(frozen=True)
class CommandLine:
    """fmnist-tune in a folder of its own, on the tiny data set.

    Attributes:
        python: the interpreter that runs it.
        cluster: joined by commands that train; None if each of them starts Ray.
    """

    folder: Path
    environment: dict[str, str]
    data_dir: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    python: str = sys.executable
    cluster: Cluster | None = None

    def words(self, *words: str | Path) -> list[str]:
        """Return a command's words, and those that have it join the cluster."""
        trains = words[:1] and words[0] in TRAINERS
        place = ["--address", self.cluster.address] if trains and self.cluster is not None else []
        return [*map(str, words), *place]

    def arguments(self, *words: str | Path) -> list[str]:
        """Return the command line that runs these words."""
        return [self.python, "-m", "fmnist_tune.cli", *self.words(*words)]

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """Start a command as the leader of a process group."""
        process = subprocess.Popen(
            self.arguments(*words),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def here(self, *words: str | Path) -> Result:
        """Run a command in this process: quicker, for those that start neither Ray nor anything else."""
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(self.folder),
            only_environment(self.environment),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                code: Any = main(self.words(*words))
            except SystemExit as error:
                code = error.code
        return Result(code, out.getvalue(), err.getvalue())

    def end(self) -> None:
        """End what a test that failed has left running."""
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate(timeout=60)

    def __call__(self, *words: str | Path) -> Result:
        """Run a command to its end, in a process of its own unless it only reads or joins the cluster."""
        if words[0] in READERS or (self.cluster is not None and words[0] in TRAINERS):
            return self.here(*words)
        process = self.start(*words)
        out, err = process.communicate(timeout=300)
        return Result(process.returncode, out, err)

    def search(self, space: str, *words: str | Path) -> Result:
        """Run `search` on a search space given as text."""
        return self(*self._search(space), *words)

    def search_here(self, space: str, *words: str | Path) -> Result:
        """Run such a search in this process."""
        return self.here(*self._search(space), *words)

    def _search(self, space: str) -> tuple[str | Path, ...]:
        path = self.folder / "space.yaml"
        path.write_text(space)
        return "search", path, "--data-dir", self.data_dir


@pytest.fixture
def command(tmp_path: Path, tiny_data: TinyData) -> Iterator[CommandLine]:
    """The command line, with the tiny data set's checksums."""
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")},  # pytest-xdist's
        "FMNIST_TUNE_MD5SUMS": str(tiny_data.md5sums),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        **FAIR,
    }
    line = CommandLine(tmp_path, environment, tiny_data.folder)
    yield line
    line.end()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A Ray cluster of this process of the tests."""
    with ray_cluster() as running:
        yield running


@pytest.fixture
def joined(command: CommandLine, cluster: Cluster) -> CommandLine:
    """The command line, whose commands join the cluster, in this process: for tests that are not about their start."""
    command.environment.update(cluster.environment)
    return replace(command, cluster=cluster)


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory, tiny_data: TinyData, cluster: Cluster) -> Path:
    """A folder with a finished search of which nothing is retrained yet, for all processes of the tests; not changed."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "searched"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            folder.mkdir(exist_ok=True)
            environment = {**os.environ, "FMNIST_TUNE_MD5SUMS": str(tiny_data.md5sums), **cluster.environment}
            line = CommandLine(folder, environment, tiny_data.folder, cluster=cluster)
            run = line.search(TINY_SPACE.replace("asha", "none", 1))
            assert run.code == 0, run.err
            (folder / "done").touch()
    return folder


@pytest.fixture
def study(searched: Path, joined: CommandLine) -> CommandLine:
    """A command line in a copy of that folder, which joins the cluster."""
    shutil.copytree(searched, joined.folder, dirs_exist_ok=True)
    return joined
