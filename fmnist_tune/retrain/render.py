"""A retraining for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fmnist_tune.evaluation import MIN_FOR_INTERVAL, classes_text, recall_extent, recalls_of, share_text
from fmnist_tune.retrain.candidates import Confirmation
from fmnist_tune.retrain.metrics import spread_json
from fmnist_tune.study.columns import Column, FittingTable
from fmnist_tune.study.render import spread_text
from fmnist_tune.study.summary import opened_text
from fmnist_tune.tasks.objective import Objective
from fmnist_tune.units import percent


def images_view(metrics: Mapping[str, Any]) -> RenderableType:
    """Return what `metrics.json` has of a classifier of images, for a terminal."""
    what = "recipe" if metrics["trial"] is None else f"trial {metrics['trial']}"
    seeds = metrics["seeds"]
    parts: list[RenderableType] = [
        Text(""),
        Text(
            f"{what} of study {metrics['study']}: trained on all training images, {metrics['epochs']} epochs, "
            f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''} ({metrics['params']:,} parameters)",
            style="bold",
        ),
        Text(f"test accuracy {spread_text(metrics['test_accuracy'])}", style="bold green"),
    ]
    values = ", ".join(percent(value) for value in metrics["test_accuracy"]["values"])
    parts.append(Text(f"  of each seed: {values}"))
    if metrics["val_accuracy"] is not None:
        parts.append(
            Text(
                f"  the search had seen {percent(metrics['val_accuracy'])} on validation, an optimistic figure: "
                "trials are chosen by it",
            )
        )
    parts.append(Text(f"  expected calibration error {metrics['calibration']['ece']['mean']:.4f}"))
    parts.append(_classes_table(metrics["per_class"], len(seeds)))
    parts.append(Text(f"  {classes_text(recalls_of(metrics['per_class']))}"))
    parts.append(Text(opened_text(metrics["test_uses"]), style="dim"))
    parts.append(Text(f"model: {metrics['model']}", style="dim"))
    return Group(*parts)


def _classes_table(per_class: Mapping[str, Mapping[str, Any]], n_seeds: int) -> FittingTable:
    recalls = recalls_of(per_class)
    figures = [per_class[name] for name in recalls]
    names = Column("class", list(recalls))
    precision, recall, f1 = (
        Column(title, [share_text(share, 2) for share in shares], is_right=True)
        for title, shares in (
            ("precision", [of_class["precision"] for of_class in figures]),
            ("recall", list(recalls.values())),
            ("F1", [of_class["f1"] if of_class["support"] else None for of_class in figures]),
        )
    )
    support = Column("support", [f"{of_class['support']:,}" for of_class in figures], is_right=True)
    is_interval = n_seeds >= MIN_FOR_INTERVAL
    ends = Column(
        "recall, 95 % over seeds" if is_interval else "recall of each seed",
        [_ends(of_class, n_seeds) for of_class in figures],
        is_right=True,
    )
    return FittingTable(([names, precision, recall, f1, support, ends], [names, recall, f1, ends]))


def _ends(figures: Mapping[str, Any], n_seeds: int) -> str:
    ends = recall_extent(figures, n_seeds)
    between = "to" if n_seeds >= MIN_FOR_INTERVAL else "and"
    return "-" if ends is None else f"{percent(ends[0])} {between} {percent(ends[1])}"


def plain_view(metrics: Mapping[str, Any], result: str) -> RenderableType:
    """Return the same of any task, with its result in words."""
    what = "recipe" if metrics["trial"] is None else f"trial {metrics['trial']}"
    seeds = metrics["seeds"]
    head = (
        f"{what} of study {metrics['study']}: {metrics['epochs']} epochs, {len(seeds)} seed"
        f"{'s' if len(seeds) > 1 else ''} ({metrics['params']:,} parameters)"
    )
    return Group(
        Text(""),
        Text(head, style="bold"),
        Text(result, style="bold green"),
        Text(f"model: {metrics['model']}", style="dim"),
    )


def confirmation_view(confirmation: Confirmation, objective: Objective) -> RenderableType:
    """Return a comparison of the best trials, for a terminal."""
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="dim")
    for name in ("trial", "in the search", "over seeds", "std"):
        table.add_column(name, justify="right")
    for c in confirmation.candidates:
        std = "-" if c.value.std is None else percent(c.value.std)
        table.add_row(str(c.number), objective.text(c.searched), objective.text(c.value.mean), std)
    first, second = confirmation.candidates[:2]
    lead = confirmation.lead
    if lead.difference.std is None:
        text = f"trial {first.number} leads trial {second.number}; one seed does not say how surely"
    elif lead.confidence is None:
        text = f"trial {first.number} against trial {second.number}: {_points(lead.difference.mean)} with every seed"
    else:
        assert lead.difference.ci95 is not None
        low, high = lead.difference.ci95
        text = (
            f"trial {first.number} is better than trial {second.number} with {_confidence(lead.confidence)} confidence "
            f"(paired over seeds: {_points(lead.difference.mean)}, 95 % interval {_points(low)} to {_points(high)})"
        )
    return Group(Text(f"{objective.label}, trained on the training split", style="bold"), table, Text(text))


def _points(difference: float) -> str:
    return f"{'+' if difference >= 0 else ''}{percent(difference)}"


def _confidence(share: float) -> str:
    return "more than 99 %" if share > 0.99 else percent(share, 0)


def confirmation_json(confirmation: Confirmation, objective: Objective) -> dict[str, Any]:
    """Return a comparison of the best trials as JSON."""
    return {
        "candidates": [
            {"trial": c.number, "searched": c.searched, objective.metric: spread_json(c.value)}
            for c in confirmation.candidates
        ],
        "lead": {
            "difference": spread_json(confirmation.lead.difference),
            "confidence": confirmation.lead.confidence,
        },
    }
