"""Recipes trained by the real command line, and what they gave."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fmnist_tune.config import SearchSpace, load_space
from fmnist_tune.cpus import cpu_count
from fmnist_tune.errors import UserError
from fmnist_tune.evaluation import SeedStats
from fmnist_tune.study.layout import StudyPaths, read_json
from fmnist_tune.tasks.images import ImageConfig

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Recipes:
    """A folder of recipes, and where they are trained.

    Attributes:
        folder: of the YAML files.
        studies_dir: of their studies.
        data_dir: of the data set; None to look for it.
    """

    folder: Path
    studies_dir: Path
    data_dir: Path | None

    @classmethod
    def from_arguments(cls, arguments: argparse.Namespace) -> Recipes:
        """Take what `add_options` has added."""
        return cls(arguments.recipes, arguments.studies_dir, arguments.data_dir)

    def space(self, name: str) -> SearchSpace:
        """Read a recipe."""
        return load_space(self.folder / f"{name}.yaml")

    def config(self, name: str) -> ImageConfig:
        """Return what a recipe trains.

        Raises:
            UserError: it is not a recipe for images.
        """
        config = self.space(name).config({})
        if not isinstance(config, ImageConfig):
            raise UserError(f"{self.folder / name}.yaml: not a recipe for Fashion-MNIST")
        return config

    def paths(self, name: str) -> StudyPaths:
        """Return where a recipe's study is."""
        return StudyPaths(self.studies_dir, self.space(name).settings.study)

    def train(self, name: str, n_seeds: int) -> None:
        """Run `fmnist-tune train` on a recipe; where all is trained already, it only says so.

        Raises:
            SystemExit: it failed or was interrupted, and has said why.
        """
        words = [str(self.folder / f"{name}.yaml"), "--seeds", str(n_seeds), "--studies-dir", str(self.studies_dir)]
        data = [] if self.data_dir is None else ["--data-dir", str(self.data_dir)]
        run_command("train", *words, *data)

    def metrics(self, name: str) -> dict[str, Any] | None:
        """Return what training a recipe gave, as metrics.json has it; None if it was not trained as it stands now."""
        metrics = read_json(self.paths(name).model / "metrics.json")
        config = json.loads(json.dumps(self.config(name).model_dump()))
        return metrics if isinstance(metrics, dict) and metrics["config"] == config else None

    def test_scores(self, name: str, metrics: dict[str, Any]) -> list[NDArray[np.float32]]:
        """Return each seed's scores on the test images, (N, 10)."""
        return [np.load(self.paths(name).folder / path, allow_pickle=False) for path in metrics["scores"]]


def run_command(*words: str) -> None:
    """Run a command of fmnist-tune, which shows its progress.

    Raises:
        SystemExit: it failed or was interrupted, and has said why.
    """
    print(f"fmnist-tune {' '.join(words)}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "fmnist_tune.cli", *words, "--json"]
    code = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
    if code:
        raise SystemExit(code)


def add_options(parser: argparse.ArgumentParser, names: list[str], page: str) -> None:
    """Add the options of a benchmark that trains recipes and writes a page."""
    parser.add_argument("--seeds", type=int, default=3, help="each recipe is trained with the seeds 0 to SEEDS - 1 (3)")
    parser.add_argument(
        "--only",
        nargs="*",
        choices=names,
        default=names,
        metavar="NAME",
        help="train these alone; none: write the page",
    )
    parser.add_argument("--studies-dir", type=Path, default=Path("studies"), metavar="DIR")
    parser.add_argument("--data-dir", type=Path, metavar="DIR")
    parser.add_argument("--recipes", type=Path, default=ROOT / "search_spaces" / "recipes", metavar="DIR")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "case-studies" / page, help="what is written")


def machine() -> str:
    """Describe this machine and its software, for the head of a page."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{cpu_count()} cores of {cpu}, {gpu}; Python {platform.python_version()}, torch {torch.__version__}"


def measured_when(finished: list[dict[str, Any]]) -> str:
    """Return the day or days on which trainings ended."""
    days = sorted({str(metrics["finished_at"]).partition(" ")[0] for metrics in finished})
    return "not yet" if not days else days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def percent(figure: SeedStats) -> str:
    """Return a share over seeds in per cent: mean and 95 % interval."""
    interval = "" if figure.ci95 is None else f" [{100 * figure.ci95[0]:.2f}, {100 * figure.ci95[1]:.2f}]"
    return f"{100 * figure.mean:.2f}{interval}"


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *rows])
