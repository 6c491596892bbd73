"""Recorded learning curves: what any configuration would come to, and how long it would take."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fmnist_tune.config.domain import ChoiceDomain, Domain, FloatDomain, IntDomain
from fmnist_tune.config.parameters import Parameter
from fmnist_tune.engine import Encoding

Array = NDArray[np.float64]

N_NEIGHBOURS = 5


@dataclass(frozen=True)
class Recorded:
    """A training.

    Attributes:
        accuracy: (epochs,) after each epoch.
        epoch_s: seconds of an epoch.
        looks: accuracy by the share of the first epoch.
    """

    accuracy: Array
    epoch_s: float
    looks: Mapping[float, float]

    def at(self, epoch: float) -> float:
        """Return the accuracy after an epoch; within the first one, between looks, by interpolation."""
        if epoch >= 1 or not self.looks:
            return float(self.accuracy[max(int(epoch), 1) - 1])
        points = {**self.looks, 1.0: float(self.accuracy[0])}
        return float(np.interp(epoch, list(points), list(points.values())))


class Source(Protocol):
    """Curves of configurations."""

    def curve(self, values: Mapping[str, Any]) -> Recorded:
        """Return what a training gives."""

    def known_seconds(self, values: Sequence[Mapping[str, Any]]) -> Array:
        """Return what one would expect of an epoch before any."""


@dataclass(frozen=True)
class Table:
    """A task to search.

    Attributes:
        file: with the description.
        parameters: searched.
        epochs: of a full training.
        best: accuracy of regret 0.
        median_final: accuracy of regret 1.
        full_training_s: median seconds of a full training.
        looks: shares of the first epoch that were recorded.
        source: of the curves.
    """

    file: Path
    parameters: tuple[Parameter, ...]
    epochs: int
    best: float
    median_final: float
    full_training_s: float
    looks: tuple[float, ...]
    source: Source

    @property
    def name(self) -> str:
        """Of the file."""
        return self.file.stem

    def regret(self, accuracy: float) -> float:
        """Return how much of the way from the best back to the median an accuracy is."""
        return (self.best - accuracy) / (self.best - self.median_final)


class TableError(Exception):
    """A table cannot be read."""


def load_tables(folder: Path, only: Sequence[str] = ()) -> list[Table]:
    """Return the tables of a folder whose names begin with one of `only`, all if that is empty.

    Raises:
        TableError: the folder is not there, or a file of it is broken.
    """
    if not folder.is_dir():
        raise TableError(f"{folder}: no such folder")
    return [
        load_table(path)
        for path in sorted(folder.glob("*.json"))
        if not only or any(path.stem.startswith(name.rstrip("*")) for name in only)
    ]


def load_table(path: Path) -> Table:
    """Return one table.

    Raises:
        TableError: its file is broken.
    """
    try:
        return _load(path)
    except KeyError as error:
        raise TableError(f"{path}: {error} is missing") from None
    except Exception as error:  # of JSON, NumPy, ONNX or the file system, which have no base in common
        reason = str(error).partition("\n")[0]
        raise TableError(f"{path}: cannot be read as a table: {type(error).__name__}: {reason}") from None


def _load(path: Path) -> Table:
    info = json.loads(path.read_text())
    parameters = tuple(_parameter(node) for node in info["parameters"])
    looks: tuple[float, ...] = ()
    source: Source
    if "onnx" in info:
        source = Surrogate(_session(path.parent / info["onnx"]["file"]), info, parameters)
    else:
        source = Rows(dict(np.load(path.with_suffix(".npz"))), parameters)
        looks = source.look_shares
    return Table(
        file=path.absolute(),
        parameters=parameters,
        epochs=info["epochs"],
        best=info["best"],
        median_final=info["median_final"],
        full_training_s=info["full_training_s"],
        looks=looks,
        source=source,
    )


@cache
def _session(file: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options)


def _parameter(node: dict[str, Any]) -> Parameter:
    domain: Domain
    if "choices" in node:
        domain = ChoiceDomain(tuple(node["choices"]))
    elif node["int"]:
        domain = IntDomain(int(node["low"]), int(node["high"]), node["log"])
    else:
        domain = FloatDomain(float(node["low"]), float(node["high"]), node["log"])
    when = {other: tuple(v) if isinstance(v, list) else (v,) for other, v in node.get("when", {}).items()}
    return Parameter(node["name"], domain, when)


class Surrogate:
    """Curves of a model in ONNX."""

    def __init__(self, session: Any, info: dict[str, Any], parameters: Sequence[Parameter]) -> None:
        self._session = session
        self._x_cat, self._first = info["onnx"]["x_cat"], info["onnx"]["first_epoch"]
        self._epochs = info["epochs"]
        self._parameters = parameters
        self._known = np.array(info["known_seconds_log_quadratic"])

    def curve(self, values: Mapping[str, Any]) -> Recorded:
        """Return what a training gives."""
        row = [float(values[parameter.path]) for parameter in self._parameters]
        x = np.tile(np.array([0.0, *row], dtype=np.float32), (self._epochs, 1))
        x[:, 0] = np.arange(self._first, self._first + self._epochs)
        output = self._session.run(
            None, {"x_cat": np.full((self._epochs, 1), self._x_cat, dtype=np.int32), "x_cont": x}
        )[0].astype(float)
        return Recorded(output[:, 1] / 100, max(output[-1, 0], 1e-3) / self._epochs, {})

    def known_seconds(self, values: Sequence[Mapping[str, Any]]) -> Array:
        """Return what the size of the model lets expect."""
        z = _scaled(self._parameters, values) - 0.5
        i, j = np.triu_indices(z.shape[1])
        log_s = np.column_stack([np.ones(len(z)), z, z[:, i] * z[:, j]]) @ self._known
        seconds: Array = np.exp(log_s)
        return seconds


def _scaled(parameters: Sequence[Parameter], values: Sequence[Mapping[str, Any]]) -> Array:
    columns = []
    for parameter in parameters:
        domain = parameter.domain
        assert not isinstance(domain, ChoiceDomain)
        column = np.array([float(row[parameter.path]) for row in values])
        low, high = float(domain.low), float(domain.high)
        if domain.log:
            column, low, high = np.log(column), np.log(low), np.log(high)
        columns.append((column - low) / (high - low))
    return np.column_stack(columns)


class Rows:
    """Curves that were recorded; of other configurations, the mean of the nearest."""

    def __init__(self, data: dict[str, Any], parameters: Sequence[Parameter]) -> None:
        self.look_shares = tuple(float(share) for share in data.get("look_shares", ()))
        self._encoding = Encoding(parameters)
        self._data = {name: np.asarray(array, dtype=float) for name, array in data.items()}
        names = [parameter.path for parameter in parameters]
        units = np.array(
            [
                self._encoding.units(_row_values(parameters, dict(zip(names, row, strict=True))))
                for row in self._data["values"]
            ]
        )
        self._features = self._encoding.features(units)

    def _nearest(self, values: Mapping[str, Any]) -> tuple[NDArray[np.int64], Array]:
        features = self._encoding.features(self._encoding.units(values)[None])[0]
        squared = ((self._features - features) ** 2).sum(1)
        rows = np.argpartition(squared, N_NEIGHBOURS)[:N_NEIGHBOURS].astype(np.int64)
        rows = rows[np.argsort(squared[rows], kind="stable")]
        if squared[rows[0]] < 1e-12:
            return rows[:1], np.ones(1)
        weights = 1 / squared[rows]
        return rows, weights / weights.sum()

    def curve(self, values: Mapping[str, Any]) -> Recorded:
        """Return what a training gave, or those next to it."""
        rows, weights = self._nearest(values)
        looks = self._data["looks"][rows].T @ weights if self.look_shares else ()
        return Recorded(
            self._data["accuracy"][rows].T @ weights,
            float(self._data["seconds"][rows] @ weights),
            dict(zip(self.look_shares, looks, strict=True)),
        )

    def known_seconds(self, values: Sequence[Mapping[str, Any]]) -> Array:
        """Return what was recorded as known before."""
        seconds = []
        for row in values:
            rows, weights = self._nearest(row)
            seconds.append(float(self._data["known_seconds"][rows] @ weights))
        return np.array(seconds)


def _row_values(parameters: Sequence[Parameter], row: Mapping[str, float]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for parameter in parameters:
        number = row[parameter.path]
        if np.isnan(number):
            continue
        if isinstance(parameter.domain, ChoiceDomain):
            values[parameter.path] = parameter.domain.values[int(number)]
        else:
            values[parameter.path] = int(number) if isinstance(parameter.domain, IntDomain) else float(number)
    return values
