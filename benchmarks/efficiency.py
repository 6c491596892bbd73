"""How much of the workers' time goes into training, and how soon it begins: `python -m benchmarks.efficiency`."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SPACE = """
study: efficiency
search: {trials: 40, pruner: {name: none}}
model: {name: mlp, hidden: [128, 64], dropout: {float: [0.0, 0.5]}}
training:
  epochs: 4
  batch_size: {choice: [64, 128]}
  average_weights: false
  optimizer: {lr: {float: [1e-4, 1e-2], log: true}, weight_decay: {float: [1e-6, 1e-2], log: true}}
"""


def main() -> None:
    """Run a study of 40 short MLP trials on 2 workers, repeatedly, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    efficiencies, after_start, first_steps = [], [], []
    for i in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as folder:
            space = Path(folder) / "space.yaml"
            space.write_text(SPACE)
            command = [
                sys.executable,
                "-m",
                "fmnist_tune.cli",
                "search",
                str(space),
                "--studies-dir",
                folder,
                "--json",
                "--workers",
                str(arguments.workers),
            ]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
        out = json.loads(run.stdout)
        efficiencies.append(out["train_s"] / (out["workers"] * (out["wall_s"] - out["startup_s"])))
        after_start.append(out["train_s"] / (out["workers"] * (out["wall_s"] - out["first_step_s"])))
        first_steps.append(out["first_step_s"])
        print(
            f"run {i + 1}: {out['trials']['complete']} trials, {out['epochs']} epochs, wall {out['wall_s']:.1f} s, "
            f"Ray up after {out['startup_s']:.1f} s, first step after {out['first_step_s']:.1f} s, "
            f"train_s {out['train_s']:.1f}, efficiency {efficiencies[-1]:.3f}, "
            f"from the first step on {after_start[-1]:.3f}",
            file=sys.stderr,
        )
    print(f"scheduling efficiency after Ray is up: median {statistics.median(efficiencies):.3f} of {arguments.repeats}")
    print(f"scheduling efficiency from the first training step: median {statistics.median(after_start):.3f}")
    print(f"command to first training step: median {statistics.median(first_steps):.1f} s")


if __name__ == "__main__":
    main()
