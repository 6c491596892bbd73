"""What the words of a command line may be: each function returns a value, or raises ArgumentTypeError."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fmnist_tune.config.schema import STUDY_NAME, study_name
from fmnist_tune.files import user_path
from fmnist_tune.units import seconds


def study(text: str) -> str:
    """Return a study's name."""
    if text is argparse.SUPPRESS:  # of a positional argument that is left out, argparse gives the default to be parsed
        return text
    name = Path(text).stem
    if "/" in text and STUDY_NAME.fullmatch(name):
        raise argparse.ArgumentTypeError(
            f"{text!r} is a path; a study is named without its folder; did you mean {name!r}?"
        )
    return str(_argument(study_name, text))


def storage(url: str) -> str:
    """Return a database's URL, with a home directory written out."""
    scheme, separator, path = url.partition(":///")
    return f"{scheme}{separator}{user_path(path)}" if path.startswith("~") else url


def duration(text: str) -> float:
    """Return seconds."""
    return float(_argument(seconds, text))


def whole(low: int) -> Callable[[str], int]:
    """Return a type of whole numbers that are not below a limit."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < low:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {low}")
        return int(text)

    return parse


def rate(text: str) -> float:
    """Return a learning rate."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a learning rate; use a number above 0, such as 1e-4")
    return value


def port(text: str) -> int:
    """Return a port."""
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; use 1 to 65535, or 0 for any free one")
    return int(text)


def _argument(parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
