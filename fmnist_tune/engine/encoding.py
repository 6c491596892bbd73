"""Configurations as numbers: a unit cube to draw from, and coordinates for a model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmnist_tune.config.domain import ChoiceDomain, Domain, IntDomain
from fmnist_tune.config.parameters import Parameter, value_at

Array = NDArray[np.float64]


class Axis:
    """A parameter's values as numbers in [0, 1].

    Steps and whole numbers have intervals of equal width, choices too, so that a uniform draw is fair to each.
    """

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self.is_choice = isinstance(domain, ChoiceDomain)
        self.n_values = domain.n_values
        if isinstance(domain, ChoiceDomain):
            self._low, self._step, self.is_log = 0.0, 1.0, False
            ends = (-0.5, len(domain.values) - 0.5)
        else:
            self._low, self.is_log = float(domain.low), domain.log
            self._step = float(domain.step or 0)
            last = float(domain.ends()[1])
            ends = (self._low - self._step / 2, last + self._step / 2)
        self._from, self._to = (math.log(ends[0]), math.log(ends[1])) if self.is_log else ends

    @property
    def is_fixed(self) -> bool:
        """Whether there is one value only."""
        return self.n_values == 1

    def numbers(self, units: Array) -> Array:
        """Return the nearest allowed number to each unit; of a choice its index."""
        raw: Array = self._from + np.clip(units, 0, 1) * (self._to - self._from)
        raw = np.exp(raw) if self.is_log else raw
        if self._step:
            assert self.n_values is not None
            raw = self._low + self._step * np.clip(np.rint((raw - self._low) / self._step), 0, self.n_values - 1)
        elif not self.is_choice:
            raw = np.clip(raw, *self.domain.ends())
        return raw

    def units(self, numbers: Array) -> Array:
        """Return where numbers lie in [0, 1]."""
        if self._from == self._to:
            return np.full_like(numbers, 0.5)
        with np.errstate(divide="ignore", invalid="ignore"):
            raw = np.log(numbers) if self.is_log else numbers
        units: Array = (raw - self._from) / (self._to - self._from)
        return units

    def value(self, number: float) -> Any:
        """Return what a number stands for."""
        if isinstance(self.domain, ChoiceDomain):
            return self.domain.values[int(number)]
        if isinstance(self.domain, IntDomain):
            return int(number)
        return self.domain.value(round((number - self._low) / self._step)) if self._step else float(number)

    def number(self, value: Any) -> float:
        """Return the number of a value; NaN if it is none of the domain's."""
        if not isinstance(self.domain, ChoiceDomain):
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return float(value) if is_number else np.nan
        return next(
            (float(i) for i in range(self.domain.n_values) if value in ChoiceDomain((self.domain.value(i),))), np.nan
        )


class Encoding:
    """The parameters of a search as matrices, a row for each configuration.

    Attributes:
        parameters: in dependency order.
        groups: of each coordinate, the index of the length-scale that it shares: one for a number, one for all
            coordinates of a choice, one for whether a conditional parameter is used.
        n_groups: how many length-scales there are.
        group_names: what each belongs to: a parameter's path, with `?` behind it for whether it is used.
    """

    def __init__(self, parameters: Sequence[Parameter], tree: object = None) -> None:
        """Encode parameters.

        Args:
            parameters: in dependency order.
            tree: the file's values, which conditions may name.
        """
        self.parameters = tuple(parameters)
        self._axes = [Axis(parameter.domain) for parameter in parameters]
        self._index = {parameter.path: i for i, parameter in enumerate(parameters)}
        self._conditions = [self._read_when(parameter, tree) for parameter in parameters]
        widths: dict[str, int] = {}
        for parameter, axis, condition in zip(parameters, self._axes, self._conditions, strict=True):
            if not axis.is_fixed:
                widths[parameter.path] = len(axis.domain.values) if isinstance(axis.domain, ChoiceDomain) else 1
            if condition:
                widths[f"{parameter.path}?"] = 1
        self.group_names = tuple(widths)
        self.n_groups = len(widths)
        self.groups = np.repeat(np.arange(self.n_groups, dtype=np.int64), list(widths.values()))

    def _read_when(self, parameter: Parameter, tree: object) -> list[tuple[int, Array]] | None:
        """Return of each searched condition its parameter and the numbers wanted; None if always used."""
        conditions = []
        for other, wanted in parameter.when.items():
            if other in self._index:
                axis = self._axes[self._index[other]]
                conditions.append((self._index[other], np.array([axis.number(value) for value in wanted])))
            elif value_at(tree, other) not in wanted:
                conditions.append((-1, np.array([])))
        return conditions or None

    def draw(self, rng: np.random.Generator, n: int) -> Array:
        """Return n uniform configurations as units, (n, parameters); NaN where unused."""
        return self.snap(rng.random((n, len(self._axes))))

    def perturb(self, rng: np.random.Generator, units: Array, scale: Array) -> Array:
        """Return a neighbour of each row: some of its values changed, choices drawn anew.

        Args:
            rng: draws.
            units: (n, parameters); what is unused is drawn anew, in case that it is used now.
            scale: (n,) standard deviation of the changes.
        """
        n, d = units.shape
        fresh = rng.random((n, d))
        moved = np.where(np.isnan(units), fresh, units)
        steps = moved + scale[:, None] * rng.standard_normal((n, d))
        steps = np.abs(steps)
        steps = np.where(steps > 1, 2 - steps, steps)  # reflected at the ends
        is_choice = np.array([axis.is_choice for axis in self._axes])
        steps = np.where(is_choice, fresh, np.clip(steps, 0, 1))
        share = np.where(is_choice, 0.25, 0.5)
        changed = rng.random((n, d)) < share
        changed[np.arange(n), rng.integers(d, size=n)] = True
        return self.snap(np.where(changed, steps, moved))

    def snap(self, units: Array) -> Array:
        """Return units of allowed values, NaN where unused."""
        snapped = np.empty_like(units)
        numbers = np.empty_like(units)
        for i, (axis, conditions) in enumerate(zip(self._axes, self._conditions, strict=True)):
            numbers[:, i] = axis.numbers(units[:, i])
            for other, wanted in conditions or ():
                used = np.isin(numbers[:, other], wanted) if other >= 0 else False
                numbers[:, i] = np.where(used, numbers[:, i], np.nan)
            snapped[:, i] = axis.units(numbers[:, i])
        return snapped

    def features(self, units: Array) -> Array:
        """Return a model's coordinates, (n, len(groups)): unused values lie in the middle."""
        columns = []
        for i, (axis, condition) in enumerate(zip(self._axes, self._conditions, strict=True)):
            column, used = units[:, i], ~np.isnan(units[:, i])
            if not axis.is_fixed:
                if axis.is_choice:
                    assert axis.n_values is not None
                    chosen = np.where(used, np.floor(np.where(used, column, 0) * axis.n_values), -1)
                    # Two different choices are at distance 1.
                    columns += [(chosen == j) / np.sqrt(2) for j in range(axis.n_values)]
                else:
                    columns.append(np.where(used, column, 0.5))
            if condition:
                columns.append(used.astype(float))
        return np.stack(columns, axis=1) if columns else np.zeros((len(units), 0))

    def numbers(self, path: str, units: Array) -> Array | None:
        """Return the numbers that a parameter has in rows of units, NaN where unused; None if it is not searched."""
        if path not in self._index:
            return None
        axis, column = self._axes[self._index[path]], units[:, self._index[path]]
        numbers = axis.numbers(column)
        if isinstance(axis.domain, ChoiceDomain):
            chosen = np.nan_to_num(numbers).astype(np.int64)
            numbers = np.where(np.isnan(numbers), np.nan, np.array(axis.domain.values, dtype=float)[chosen])
        return numbers

    def values(self, units: Array) -> dict[str, Any]:
        """Return the configuration of one row of units; unused parameters are left out."""
        return {
            parameter.path: axis.value(float(axis.numbers(np.array([unit]))[0]))
            for parameter, axis, unit in zip(self.parameters, self._axes, units, strict=True)
            if not np.isnan(unit)
        }

    def units(self, values: Mapping[str, Any]) -> Array:
        """Return the row of a configuration; NaN where it has no value, or one outside the domain."""
        row = np.full(len(self._axes), np.nan)
        for i, (parameter, axis) in enumerate(zip(self.parameters, self._axes, strict=True)):
            if parameter.path in values:
                row[i] = axis.units(np.array([axis.number(values[parameter.path])]))[0]
        return row
