"""Record a search space as a table of learning curves: `python -m benchmarks.engine.record SPACE.yaml --output DIR`.

Random configurations are trained to their ends by an ordinary search that stops none of them. An interrupted command
goes on when it is given again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from benchmarks.engine.tables import Array, Rows, Table, load_table
from fmnist_tune.config import load_space
from fmnist_tune.config.domain import ChoiceDomain, IntDomain
from fmnist_tune.config.parameters import Parameter
from fmnist_tune.config.yaml_text import dump_yaml
from fmnist_tune.engine import Encoding
from fmnist_tune.search.scheduler import Scheduler, SchedulerSection
from fmnist_tune.study.database import database_url, open_database
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.sampling import values_of
from fmnist_tune.study.trial_data import curve_of, history_of

LOOKS = (0.05, 0.1, 0.33)  # shares of the first epoch
N_RANDOM = 1500  # configurations of which the best has regret 0


class EveryLook(SchedulerSection):
    """Evaluates every trial at each of LOOKS, and trains it to its end."""

    name: Literal["benchmarks.engine.record:EveryLook"] = "benchmarks.engine.record:EveryLook"

    def build(self) -> Scheduler:
        """Build the scheduler."""
        return _EveryLook(self)


class _EveryLook(Scheduler):
    def milestone(self, epoch: float) -> float:
        return next((share for share in LOOKS if share > epoch), super().milestone(epoch))


def record(space: Path, folder: Path, n_configurations: int) -> StudyRecord:
    """Train random configurations of a space; return the study, which is kept below `folder`."""
    pruner = {"name": f"{EveryLook.__module__}:{EveryLook.__name__}".replace("__main__", "benchmarks.engine.record")}
    search = {"trials": n_configurations, "sampler": {"name": "random", "seed": 0}, "pruner": pruner}
    text = {**load_space(space, {"study": space.stem}).tree, "search": search}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / space.name
    file.write_text(dump_yaml(text))
    command = [sys.executable, "-m", "fmnist_tune", "search", str(file), "--studies-dir", str(folder), "--plain"]
    status = subprocess.run(command, check=False).returncode
    if status:
        sys.exit(status)
    return StudyRecord.load(open_database(database_url(folder), create=False), StudyPaths(folder, space.stem))


def table_of(record: StudyRecord, source: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a finished study as the JSON and the arrays of a table."""
    space = record.space
    complete = [trial for trial in record.trials if trial.state == TrialState.COMPLETE]
    epochs = space.max_epochs
    values = [values_of(trial.params, space) for trial in complete]
    arrays = {
        "values": np.array([_row(space.parameters, row) for row in values]),
        "accuracy": np.array([_accuracy(trial, epochs) for trial in complete], dtype=np.float32),
        "looks": _looks([curve_of(trial) for trial in complete]),
        "look_shares": np.array(LOOKS),
        "seconds": np.array([np.median([e.epoch_s for e in history_of(trial)]) for trial in complete]),
        "known_seconds": np.array([space.config(row).relative_cost() or np.nan for row in values]),
    }
    rows, encoding = Rows(arrays, space.parameters), Encoding(space.parameters)
    drawn = encoding.draw(np.random.default_rng(0), N_RANDOM)
    curves = [rows.curve(encoding.values(units)) for units in drawn]
    info = {
        "source": source,
        "epochs": epochs,
        "parameters": [_node(parameter) for parameter in space.parameters],
        "best": max(float(curve.accuracy.max()) for curve in curves),
        "median_final": float(np.median(arrays["accuracy"][:, -1])),
        "full_training_s": float(np.median(arrays["seconds"])) * epochs,
    }
    return info, arrays


def _looks(curves: Sequence[dict[float, float]]) -> Array:
    """Return accuracies at LOOKS; one that has fewer batches than looks rises linearly from the lowest of all."""
    lowest = min(curve[share] for curve in curves for share in LOOKS if share in curve)
    return np.array([np.interp(LOOKS, [0.0, *curve], [lowest, *curve.values()]) for curve in curves])


def _accuracy(trial: FrozenTrial, epochs: int) -> list[float]:
    curve = [result.val_accuracy for result in history_of(trial)]
    return curve + curve[-1:] * (epochs - len(curve))  # one that diverged stays what it was


def _row(parameters: Sequence[Parameter], values: dict[str, Any]) -> list[float]:
    row = []
    for parameter in parameters:
        value, domain = values.get(parameter.path), parameter.domain
        number = domain.values.index(value) if value is not None and isinstance(domain, ChoiceDomain) else value
        row.append(np.nan if number is None else float(number))
    return row


def _node(parameter: Parameter) -> dict[str, Any]:
    domain, node = parameter.domain, dict[str, Any](name=parameter.path)
    if isinstance(domain, ChoiceDomain):
        node["choices"] = list(domain.values)
    else:
        low, high = domain.ends()
        node |= {"low": low, "high": high, "log": domain.log, "int": isinstance(domain, IntDomain)}
    return node | ({"when": {k: list(v) for k, v in parameter.when.items()}} if parameter.when else {})


def main(argv: Sequence[str] | None = None) -> None:
    """Train, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.record", description=__doc__)
    parser.add_argument("space", type=Path, help="search space, of which the `search` section is replaced")
    parser.add_argument("--configurations", type=int, default=300, metavar="N", help="how many (300)")
    parser.add_argument("--studies-dir", type=Path, default=Path("studies/recorded"), help="where the study is kept")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for NAME.json and NAME.npz")
    arguments = parser.parse_args(argv)
    if not arguments.space.is_file():
        parser.error(f"{arguments.space}: no such file")
    if arguments.configurations < 10:
        parser.error(f"--configurations {arguments.configurations}: a table needs at least 10")
    found = record(arguments.space, arguments.studies_dir, arguments.configurations)
    info, arrays = table_of(found, f"{arguments.space.name}, recorded by {parser.prog}")
    table = write(arguments.output / f"own-{arguments.space.stem}.json", info, arrays)
    n = len(arrays["values"])
    print(f"{table.file}: {n} configurations, best {table.best:.4f}, median {table.median_final:.4f}")


def write(file: Path, info: dict[str, Any], arrays: dict[str, Any]) -> Table:
    """Write a table, and read it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file.with_suffix(".npz"), **arrays)
    file.write_text(json.dumps(info, indent=1) + "\n")
    return load_table(file)


if __name__ == "__main__":
    main()
