"""`data`."""

from __future__ import annotations

import argparse
import json

import numpy as np
from rich.bar import Bar
from rich.table import Table

from fmnist_tune.cli import EXIT_OK
from fmnist_tune.cli.store import stderr, stdout
from fmnist_tune.data.fashion_mnist import has_part, load_part
from fmnist_tune.data.fetch import fetch_data, locate_data
from fmnist_tune.search.screen import Work
from fmnist_tune.tasks.images.fashion_mnist import FashionMnist

MOST_OF_A_BAR = 30


def data(arguments: argparse.Namespace, started: float) -> int:
    """Fetch, verify and count the data set."""

    folder, spec = arguments.data_dir, FashionMnist().spec
    with Work(stderr(arguments), started) as work:
        if folder is None:
            folder = locate_data(None, work.phase)
        elif not (has_part(folder, "train") and has_part(folder, "test")):
            fetch_data(folder, work.phase)
        parts = {"train": load_part(folder, "train"), "test": load_part(folder, "test")}
    counts = {part: np.bincount(images.labels_N, minlength=spec.n_classes).tolist() for part, images in parts.items()}
    if arguments.json:
        classes = {part: dict(zip(spec.class_names, numbers, strict=True)) for part, numbers in counts.items()}
        print(json.dumps({"data_dir": str(folder), "md5": {p: i.md5 for p, i in parts.items()}, "classes": classes}))
        return EXIT_OK
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("class", "name", "train", "test"):
        table.add_column(column, justify="left" if column == "name" else "right")
    table.add_column("", max_width=MOST_OF_A_BAR)
    largest = max(counts["train"])
    for k, name in enumerate(spec.class_names):
        n = counts["train"][k]
        table.add_row(str(k), name, f"{n:,}", f"{counts['test'][k]:,}", Bar(largest, 0, n))
    table.add_row("", "all", f"{sum(counts['train']):,}", f"{sum(counts['test']):,}", "")
    console = stdout()
    console.print(table)
    console.print(f"verified: {folder}")
    return EXIT_OK
