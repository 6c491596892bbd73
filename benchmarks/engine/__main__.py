"""`python -m benchmarks.engine`: regret of systems on tables of recorded curves."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engine.outcome import FRACTIONS, Outcome
from benchmarks.engine.systems import SYSTEMS, TOLD
from benchmarks.engine.tables import TableError, load_tables


def main(argv: Sequence[str] | None = None) -> None:
    """Search every table with every system, and print the regret."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("--tables", type=Path, required=True, help="folder of tables")
    parser.add_argument("--only", nargs="+", default=[], help="names of tables, or how they begin")
    rivals = [name for name in SYSTEMS if name not in TOLD]
    parser.add_argument(
        "--systems",
        nargs="+",
        default=rivals,
        choices=list(SYSTEMS),
        metavar="SYSTEM",
        help=f"of {', '.join(SYSTEMS)}; all but {' and '.join(TOLD)} if not given",
    )
    parser.add_argument(
        "--budgets", nargs="+", type=_positive(float), default=[1.5, 4, 12], help="time, in median full trainings"
    )
    parser.add_argument("--workers", type=_positive(int), default=2)
    parser.add_argument("--seeds", type=_positive(int), default=4)
    parser.add_argument("--json", action="store_true", help="print one object, no table")
    arguments = parser.parse_args(argv)
    try:
        rows, tables = [], load_tables(arguments.tables, arguments.only)
    except TableError as error:
        parser.exit(2, f"{parser.prog}: --tables: {error}\n")
    if not tables:
        parser.error(f"--tables: no table of {', '.join(arguments.only) or 'any name'} in {arguments.tables}")
    for budget in arguments.budgets:
        for system in arguments.systems:
            for table in tables:
                outcomes = [
                    SYSTEMS[system].search(
                        table, time_s=budget * table.full_training_s, n_workers=arguments.workers, seed=seed
                    )
                    for seed in range(arguments.seeds)
                ]
                rows.append(_row(outcomes, table=table.name, system=system, budget=budget, workers=arguments.workers))
            if not arguments.json:
                _print([row for row in rows if (row["budget"], row["system"]) == (budget, system)])
    if arguments.json:
        json.dump({"rows": rows}, sys.stdout)


def _positive(kind: type[float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not positive")
        return value

    read.__name__ = kind.__name__  # for argparse's message
    return read


def _row(outcomes: list[Outcome], **names: Any) -> dict[str, Any]:
    return {
        **names,
        "regret": {str(f): float(np.mean([outcome.regret[f] for outcome in outcomes])) for f in FRACTIONS},
        "n_trials": float(np.mean([outcome.n_trials for outcome in outcomes])),
        "decide_s": float(np.mean([outcome.decide_s for outcome in outcomes])),
    }


def _print(rows: list[dict[str, Any]]) -> None:
    by_kind = defaultdict(list)
    for row in rows:
        by_kind[row["table"].split("-")[0]].append(row)
    for kind, some in by_kind.items():
        marks = "  ".join(
            f"{np.mean(values):6.3f} ({np.std(values) / np.sqrt(len(values)):.3f})"
            for values in ([row["regret"][str(f)] for row in some] for f in FRACTIONS)
        )
        print(
            f"B={some[0]['budget']:<4g} {some[0]['system']:<16} {kind:<8} {marks}  "
            f"{np.mean([row['n_trials'] for row in some]):6.1f} trials  "
            f"{1000 * np.mean([row['decide_s'] for row in some]):.1f} ms",
            flush=True,
        )


if __name__ == "__main__":
    main()
