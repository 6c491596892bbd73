"""Training throughput against a bare loop and against the usual recipe: `python -m benchmarks.throughput`.

One thread each, in one process, in turn; what is printed is the median of the paired ratios. `--device cuda` trains on
a GPU, where our loop launches each step as one graph.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset

from fmnist_tune.data.fashion_mnist import find_file, load_part
from fmnist_tune.data.fetch import locate_data
from fmnist_tune.data.split import stratified_split
from fmnist_tune.tasks.images import ImageConfig
from fmnist_tune.training.run import TrainingRun
from fmnist_tune.training.tensors import TrainingData

MLP = {"name": "mlp", "hidden": [128, 64]}
CNN = {"name": "cnn", "channels": [32, 64, 128]}
CASES = {"mlp 64": (MLP, 64, 50_000), "mlp 256": (MLP, 256, 50_000), "cnn 256": (CNN, 256, 5_120)}

Loop = Callable[[], int]


def ours(run: TrainingRun) -> Loop:
    """Return fmnist-tune's own training epoch; there are no images to validate on."""

    epochs = run.epochs()

    def loop() -> int:
        next(epochs)
        return len(run.data.x_train)

    return loop


def bare(run: TrainingRun) -> Loop:
    """Return the loop that one would write by hand over the same tensors, model, optimizer class and precision."""
    model = run.config.build().to(run.device)
    if run.precision.channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    x, y, batch_size = run.data.x_train, run.data.y_train, run.config.training.batch_size

    def loop() -> int:
        model.train()
        order = torch.randperm(len(x), device=run.device)
        for i in range(0, len(x), batch_size):
            batch = order[i : i + batch_size]
            with torch.autocast(run.device, torch.bfloat16, enabled=run.precision.bf16):
                loss = F.cross_entropy(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        loss.item()  # a GPU is done with what it has been given
        return len(x)

    return loop


def usual(run: TrainingRun, root: Path, indices: list[int]) -> Loop:
    """Return what tutorials teach: torchvision's data set, transforms, DataLoader, float32, NCHW."""
    from torchvision import transforms
    from torchvision.datasets import FashionMNIST

    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.2860,), (0.3530,))])
    data = Subset(FashionMNIST(str(root), train=True, transform=transform), indices)
    loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
        data, batch_size=run.config.training.batch_size, shuffle=True
    )
    model = run.config.build().to(run.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()

    def loop() -> int:
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x.to(run.device)), y.to(run.device))
            loss.backward()
            optimizer.step()
        loss.item()
        return len(indices)

    return loop


def main() -> None:
    """Print each case's throughputs and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = locate_data(arguments.data_dir, print)
    images = load_part(folder, "train")
    with tempfile.TemporaryDirectory() as root:
        raw = Path(root) / "FashionMNIST" / "raw"
        raw.mkdir(parents=True)
        unpack(folder, raw)
        for name in arguments.cases:
            model, batch_size, n = CASES[name]
            config = ImageConfig.model_validate(
                {
                    "model": model,
                    "training": {
                        "epochs": arguments.repeats + 1,
                        "batch_size": batch_size,
                        "optimizer": {"name": "adam", "lr": 1e-3},
                    },
                }
            )
            train, _ = stratified_split(images.labels_N, 10_000)
            data = TrainingData.from_images(images.images_NHW, images.labels_N, config.data, arguments.device)
            data = TrainingData(data.x_train[:n].clone(), data.y_train[:n].clone(), data.x_val[:0], data.y_val[:0], 0.0)
            run = TrainingRun(config, data, seed=0, device=arguments.device)
            loops = {
                "ours": ours(run),
                "bare": bare(run),
                "usual": usual(run, Path(root), train[:n].tolist()),
            }
            rates: dict[str, list[float]] = {key: [] for key in loops}
            for repeat in range(arguments.repeats + 1):
                order = list(loops)
                for key in order[repeat % 3 :] + order[: repeat % 3]:  # nobody is always the one after another
                    start = time.perf_counter()
                    n_images = loops[key]()
                    if repeat:  # the first round warms up
                        rates[key].append(n_images / (time.perf_counter() - start))
            against = {
                key: statistics.median(a / b for a, b in zip(rates["ours"], rates[key], strict=True))
                for key in ("bare", "usual")
            }
            medians = ", ".join(f"{key} {statistics.median(values):,.0f}/s" for key, values in rates.items())
            print(
                f"{name} ({run.precision}): {medians}; "
                f"ours / bare {against['bare']:.2f}, ours / usual {against['usual']:.2f} "
                f"(medians of {arguments.repeats})",
                flush=True,
            )


def unpack(folder: Path, raw: Path) -> None:
    """Put the files where torchvision looks for them."""
    import gzip

    from fmnist_tune.data.fashion_mnist import FILES

    for name in (*FILES["train"], *FILES["test"]):
        path = find_file(folder, name)
        if path is not None:
            content = path.read_bytes()
            (raw / name).write_bytes(gzip.decompress(content) if path.suffix == ".gz" else content)


if __name__ == "__main__":
    main()
