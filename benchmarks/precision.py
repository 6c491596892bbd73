"""Which number format and memory layout is fastest, and whether it costs accuracy: `python -m benchmarks.precision`.

Speed: one thread, random images, medians of paired rounds. Accuracy: the real data, the same seeds in both formats.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from fmnist_tune.data.fashion_mnist import load_part
from fmnist_tune.data.fetch import locate_data
from fmnist_tune.tasks.images import ImageConfig
from fmnist_tune.training.precision import Precision, choose_precision, has_fast_bf16
from fmnist_tune.training.run import TrainingRun
from fmnist_tune.training.tensors import TrainingData

FORMATS = [Precision(bf16, channels_last) for bf16 in (False, True) for channels_last in (False, True)]
CASES: list[tuple[dict[str, Any], int]] = [
    ({"name": "mlp", "hidden": [128, 64]}, 64),
    ({"name": "mlp", "hidden": [128, 64]}, 256),
    ({"name": "mlp", "hidden": [512, 256]}, 64),
    ({"name": "mlp", "hidden": [512, 256]}, 256),
    ({"name": "mlp", "hidden": [1024, 1024]}, 256),
    ({"name": "cnn", "channels": [8, 16]}, 256),
    ({"name": "cnn", "channels": [16, 32]}, 256),
    ({"name": "cnn", "channels": [32, 64, 128]}, 256),
]


def trial(model: dict[str, Any], batch_size: int, epochs: int = 1) -> ImageConfig:
    """Return a configuration with AdamW and the one-cycle schedule."""
    optimizer = {"name": "adamw", "lr": 5e-3, "weight_decay": 1e-2}
    training = {"epochs": epochs, "batch_size": batch_size, "optimizer": optimizer, "schedule": "one_cycle"}
    return ImageConfig.model_validate({"model": model, "training": training})


def speed(repeats: int) -> None:
    """Print images per second of each case in each format; `*` is what fmnist-tune chooses."""
    generator = torch.Generator().manual_seed(0)
    for model, batch_size in CASES:
        config = trial(model, batch_size, repeats + 1)
        n = 20 * batch_size if model["name"] == "cnn" else 80 * batch_size
        x = torch.randn(n, 1, 28, 28, generator=generator)
        y = torch.randint(10, (n,), generator=generator)
        data = TrainingData(x, y, x[:0], y[:0], 0.0)
        runs = {precision: TrainingRun(config, data, seed=0, precision=precision) for precision in FORMATS}
        epochs = {precision: run.epochs() for precision, run in runs.items()}
        rates: dict[Precision, list[float]] = {precision: [] for precision in FORMATS}
        for repeat in range(repeats + 1):
            for precision in FORMATS:
                start = time.perf_counter()
                next(epochs[precision])
                if repeat:  # the first round warms up
                    rates[precision].append(n / (time.perf_counter() - start))
        chosen = choose_precision(config, fast_bf16=has_fast_bf16("cpu"))
        cells = [f"{n}{'*' if n == chosen else ''} {statistics.median(rates[n]):,.0f}/s" for n in FORMATS]
        widths = model.get("hidden") or model.get("channels")
        print(f"{model['name']} {widths} batch {batch_size}: {', '.join(cells)}", flush=True)


def accuracy(seeds: int, epochs: int, data_dir: Path | None) -> None:
    """Print validation accuracies of bf16 and float32 and their paired difference."""
    images = load_part(locate_data(data_dir, print), "train")
    config = trial({"name": "cnn", "channels": [16, 32]}, 256, epochs)
    data = TrainingData.from_images(images.images_NHW, images.labels_N, config.data, "cpu")
    results: dict[bool, list[float]] = {False: [], True: []}
    for seed in range(seeds):
        for bf16, values in results.items():
            *_, last = TrainingRun(config, data, seed=seed, precision=Precision(bf16, True)).epochs()
            values.append(last.val_accuracy)
        print(f"seed {seed}: float32 {results[False][-1]:.4f}, bf16 {results[True][-1]:.4f}", flush=True)
    differences = [b - a for a, b in zip(results[False], results[True], strict=True)]
    print(
        f"cnn [16, 32], {epochs} epochs, {seeds} seeds: float32 {statistics.mean(results[False]):.4f}, "
        f"bf16 {statistics.mean(results[True]):.4f}, difference {statistics.mean(differences):+.4f} "
        f"(standard deviation {statistics.stdev(differences):.4f})"
    )


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--data-dir", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    speed(arguments.repeats)
    if arguments.seeds > 1:
        accuracy(arguments.seeds, arguments.epochs, arguments.data_dir)


if __name__ == "__main__":
    main()
