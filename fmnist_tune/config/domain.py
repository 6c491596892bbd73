"""The three ways to search a value: float, int, choice."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from fmnist_tune.config.foreign import instead, search_form
from fmnist_tune.errors import did_you_mean

KINDS = ("float", "int", "choice")
MAX_STEPS = 1e15  # the largest count that a float represents without gaps


@dataclass(frozen=True)
class FloatDomain:
    """Numbers in [low, high], both ends included; in steps of `step` from `low` if it is given."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, self.log, self.step)

    @property
    def n_values(self) -> int | None:
        """Number of values; None if infinite."""
        if self.step is None:
            return 1 if self.low == self.high else None
        return 1 + int((_decimal(self.high) - _decimal(self.low)) // _decimal(self.step))

    def value(self, i: int) -> float:
        """Return the i-th value, from 0, in decimal arithmetic as Optuna does: three steps of 0.1 are 0.3."""
        return self.low if self.step is None else float(_decimal(self.low) + i * _decimal(self.step))

    def ends(self) -> list[Any]:
        """Return the extreme values."""
        return [self.low, self.high if self.n_values is None else self.value(self.n_values - 1)]

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        if self.step is None:
            return True
        steps = (value - self.low) / self.step
        return abs(steps - round(steps)) < 1e-8

    def __str__(self) -> str:
        return f"{self.low:g} .. {self.high:g}{_how(self.log, self.step)}"


@dataclass(frozen=True)
class IntDomain:
    """Whole numbers in [low, high], both ends included."""

    low: int
    high: int
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        for name, value in (("low", self.low), ("high", self.high), ("step", self.step)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise ValueError(f"{name} {value!r} is not a whole number; use float for numbers with a fraction")
        _check_range(self.low, self.high, self.log, None if self.step == 1 else self.step)

    @property
    def n_values(self) -> int:
        """How many values there are."""
        return 1 + (self.high - self.low) // self.step

    def value(self, i: int) -> int:
        """Return the i-th value, counted from 0."""
        return self.low + i * self.step

    def ends(self) -> list[Any]:
        """Return the extreme values."""
        return [self.low, self.value(self.n_values - 1)]

    def __contains__(self, value: object) -> bool:
        return (
            isinstance(value, int)
            and not isinstance(value, bool)
            and self.low <= value <= self.high
            and (value - self.low) % self.step == 0
        )

    def __str__(self) -> str:
        return f"{self.low} .. {self.high}{_how(self.log, None if self.step == 1 else self.step)}"


@dataclass(frozen=True)
class ChoiceDomain:
    """One of the values, which may be of any type, including lists."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("choice is empty; list at least one value")
        labels = self.labels
        for i, label in enumerate(labels):
            if label in labels[:i]:  # by ==, as in Optuna: 1 and true are equal
                raise ValueError(f"choice lists {self.values[i]!r} twice")

    @cached_property
    def labels(self) -> tuple[str | int | float | bool | None, ...]:
        """Each value as Optuna stores it: scalars as they are, lists and mappings as JSON text."""
        return tuple(json.dumps(v) if isinstance(v, list | dict) else v for v in self.values)

    @property
    def n_values(self) -> int:
        """How many values there are."""
        return len(self.values)

    def value(self, i: int) -> Any:
        """Return the i-th value, counted from 0."""
        return self.values[i]

    def ends(self) -> list[Any]:
        """Return all values."""
        return list(self.values)

    def __contains__(self, value: object) -> bool:
        return any(_same(v, value) for v in self.values)

    def listed(self, value: Any) -> Any:
        """Return the value as listed: 0 for 0.0, or the section as written; itself if it is not listed."""
        for v in sorted(self.values, key=lambda v: -len(v) if isinstance(v, dict) else 0):
            if _same(v, value) or (isinstance(v, dict) and isinstance(value, dict) and _says(v, value)):
                return v
        return value

    def __str__(self) -> str:
        return ", ".join(str(v) for v in self.values)


def _same(one: object, other: object) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    return json.dumps(one) == json.dumps(other)


def _says(part: dict[str, Any], whole: dict[str, Any]) -> bool:
    """Return whether a section contains all of a partial section."""
    return all(
        _says(value, whole[key])
        if isinstance(value, dict) and isinstance(whole.get(key), dict)
        else key in whole and _same(value, whole[key])
        for key, value in part.items()
    )


Domain = FloatDomain | IntDomain | ChoiceDomain


def is_searched(node: object) -> bool:
    """Return whether a value of the file is searched: a mapping with the key float, int or choice."""
    return isinstance(node, dict) and any(kind in node for kind in KINDS)


def parse_domain(node: dict[Any, Any]) -> Domain:
    """Read `{float: [low, high], log: bool, step: x}`, `{int: ...}` or `{choice: [...]}`; `when` is ignored.

    Raises:
        ValueError: it is invalid; says why and what is allowed.
    """
    kinds = [kind for kind in KINDS if kind in node]
    if len(kinds) > 1:
        raise ValueError(f"both {kinds[0]} and {kinds[1]}; give one of {', '.join(KINDS)}")
    kind = kinds[0]
    allowed = ("choice", "when") if kind == "choice" else (kind, "log", "step", "when")
    for key in node:
        if key not in allowed:
            hint = "; write step" if key == "q" else did_you_mean(key, allowed)
            raise ValueError(f"unknown key {key!r} beside {kind}; allowed are {', '.join(allowed[1:])}{hint}")
    value = node[kind]
    if kind == "choice":
        if not isinstance(value, list):
            hint = f"; write {{choice: [{value}]}}" if isinstance(value, str) and "," in value else ""
            raise ValueError(f"choice must be a list of values, but is {value!r}{hint}")
        for item in value:
            if _holds_search(item):
                raise ValueError(
                    f"{item!r} inside a choice would never be searched; list plain values, and use when: for the rest"
                )
            if isinstance(item, float) and not math.isfinite(item):
                raise ValueError(f"choice lists {item}; numbers must be finite")
        return ChoiceDomain(tuple(value))
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{kind} must be [low, high], but is {value!r}{_range_hint(kind, value)}")
    for name, end in zip(("low", "high"), value, strict=True):
        if isinstance(end, bool) or not isinstance(end, int | float):
            raise ValueError(f"{name} {end!r} is not a number")
    log, step = node.get("log", False), node.get("step")
    if not isinstance(log, bool):
        raise ValueError(f"log must be true or false, but is {log!r}{instead(log, 'bool')}")
    if step is not None and (isinstance(step, bool) or not isinstance(step, int | float)):
        raise ValueError(f"step {step!r} is not a number")
    if kind == "int":
        return IntDomain(value[0], value[1], log, 1 if step is None else step)  # type: ignore[arg-type]  # it checks
    return FloatDomain(float(value[0]), float(value[1]), log, None if step is None else float(step))


def _range_hint(kind: str, value: object) -> str:
    if isinstance(value, list) and len(value) > 2:
        return f"; for these values alone write {{choice: {value}}}"
    form = search_form({kind: value}) if isinstance(value, dict) else None
    return f"; write {form}" if form is not None else ""


def _holds_search(node: object) -> bool:
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return is_searched(node) or any(_holds_search(child) for child in children)


def _check_range(low: float, high: float, log: bool, step: float | None) -> None:
    for name, value in (("low", low), ("high", high), ("step", step)):
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{name} {value} must be finite")
    if low > high:
        raise ValueError(f"low {low:g} > high {high:g}; write the smaller number first")
    if log and low <= 0:
        raise ValueError(f"log needs low > 0, but low is {low:g}")
    if step is not None:
        if log:
            raise ValueError("log and step exclude each other; leave one out")
        if step <= 0:
            raise ValueError(f"step {step:g} must be greater than 0")
        if low < high and step > high - low:
            raise ValueError(f"step {step:g} is larger than the range {low:g} .. {high:g}")
        if (high - low) / step > MAX_STEPS:
            raise ValueError(f"step {step:g} is too small: {low:g} .. {high:g} has more than {MAX_STEPS:.0e} of them")


def _decimal(number: float) -> Decimal:
    return Decimal(str(number))


def _how(log: bool, step: float | None) -> str:
    return " (log)" if log else f" (step {step:g})" if step is not None else ""
