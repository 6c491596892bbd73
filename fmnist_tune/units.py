"""Formatting shares and durations, and parsing durations."""

from __future__ import annotations

import math
import re

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(value: object) -> float:
    """Return a duration such as `90s`, `10m` or `1.5h`, in seconds.

    Raises:
        ValueError: it is not a duration, has no unit, or is not positive.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(value).strip())
    if isinstance(value, bool) or match is None or float(match[1]) <= 0:
        raise ValueError(f"{value!r} is not a duration; write a number with s, m or h, such as 90s, 10m or 1.5h")
    if not match[2]:
        n = match[1]
        raise ValueError(f"{n} has no unit; write {n}s (seconds), {n}m (minutes) or {n}h (hours)")
    return float(match[1]) * UNITS[match[2]]


def duration(value_s: float) -> str:
    """Return seconds in the format of `seconds`, in the largest unit that needs at most one decimal."""
    for unit in ("h", "m"):
        value = value_s / UNITS[unit]
        if value >= 1 and math.isclose(value, round(value, 1)):
            return f"{round(value, 1):g}{unit}"
    return f"{value_s:.3g}s" if value_s < 100 else f"{value_s:.0f}s"


def clock(seconds: float) -> str:
    """Return a duration as mm:ss or h:mm:ss."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"


def percent(share: float, digits: int = 2) -> str:
    """Return a share, such as an accuracy, as a percentage: 0.8849 as `88.49 %`."""
    return f"{100 * share:.{digits}f} %"


def in_words(n: int) -> str:
    """Return a count as text: up to twelve as a word."""
    words = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    return words[n] if n < len(words) else f"{n:,}"
