"""Syntax of other tools, and what to write here instead."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from fmnist_tune.config.yaml_text import read_yaml
from fmnist_tune.errors import FileError

# Names of searches in Ray Tune, Optuna, hyperopt, Weights & Biases, NNI, Hydra and Ax, reduced to small letters.
_CHOICES = {
    "choice",
    "choices",
    "values",
    "categorical",
    "cat",
    "options",
    "oneof",
    "enum",
    "grid",
    "gridsearch",
    "ordinal",
}
_RANGES = {"float", "double", "real", "range", "bounds", "interval", "normal", "lognormal"}
_INTS = {"int", "integer", "ints"}
_KIND_KEYS = ("distribution", "type", "kind")
_LIST_KEYS = ("value", "values", "bounds", "range", "choices", "options")
_ENDS = (("min", "max"), ("low", "high"), ("lower", "upper"), ("start", "stop"), ("start", "end"), ("from", "to"))
_CALL = re.compile(r"[\w.]*?(\w+)\((.*)\)")
_QUOTED_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_BOOLS = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}
_NOTHING = ("none", "null", "auto", "default")


def instead(value: object, wanted: str = "") -> str:
    """Return what to write instead of a misplaced value, as the end of a message; empty if unknown.

    Args:
        value: what was written.
        wanted: the expected type: int, float, bool, or something else.
    """
    form = search_form(value, wanted)
    text = ""
    if form is not None:
        text = f"to search it, write {form}"
    elif isinstance(value, list) and value:
        is_range = len(value) == 2 and all(map(_is_number, value)) and value[0] < value[1]
        text = f"to search it, write {_choice(value)}"
        text += f", or {_range(value, wanted or 'float')} for all that lies between" if is_range else ""
    elif isinstance(value, dict) and list(value) == ["value"]:
        text = f"write {_flow(value['value'])}"
    elif isinstance(value, str):
        text = _instead_of_text(value, wanted)
    elif wanted == "int" and isinstance(value, float) and value.is_integer():
        text = f"write {int(value)}"
    elif wanted == "list" and _is_number(value):
        text = f"write [{value}]"
    return f"; {text}" if text else ""


def _instead_of_text(text: str, wanted: str) -> str:
    if wanted in ("int", "float") and _QUOTED_NUMBER.fullmatch(text):
        return f"write {text} without quotes"
    if wanted == "float" and re.fullmatch(r"\d+\.?\d* *%", text):
        return f"write {float(text.rstrip(' %')) / 100:g}"
    if wanted == "list" and "," in text:
        return f"write [{', '.join(part.strip() for part in text.strip('[]() ').split(','))}]"
    if wanted == "bool" and text.lower() in _BOOLS:
        return f"write {_BOOLS[text.lower()]}, without quotes"
    return "leave the key out for its default" if text.lower() in _NOTHING else ""


def search_form(node: object, wanted: str = "") -> str | None:
    """Return our form of another tool's search, such as `{float: [0, 0.5]}`; None if it is none."""
    if isinstance(node, str):
        call = _CALL.fullmatch(node.strip())
        return None if call is None else _searched(_letters(call[1]), _parsed(f"[{call[2]}]"), {}, wanted)
    if not isinstance(node, dict):
        return None
    words = {_letters(key): value for key, value in node.items()}
    named = next((_letters(words[key]) for key in _KIND_KEYS if isinstance(words.get(key), str)), "")
    listed = next((words[key] for key in _LIST_KEYS if isinstance(words.get(key), list)), None)
    if named and listed is not None:
        return _searched(named, listed, words, wanted)
    for low, high in _ENDS:
        if low in words and high in words:
            return _searched(named or "range", [words[low], words[high]], words, wanted)
    return next(
        (_searched(word, value, words, wanted) for word, value in words.items() if _kind(word) is not None), None
    )


def _searched(name: str, value: object, words: Mapping[str, Any], wanted: str) -> str | None:
    """Return our form of a search with this name, over a range or a list of values."""
    kind = _kind(name)
    if kind is None:
        return None
    if isinstance(value, dict):
        value = next(([value[low], value[high]] for low, high in _ENDS if low in value and high in value), value)
    if kind == "choice":
        is_list_of_lists = isinstance(value, list) and len(value) == 1 and isinstance(value[0], list)
        return _choice(value[0] if is_list_of_lists and isinstance(value, list) else value)
    if name == "range":
        kind = wanted or "int"
    ends = value[:2] if isinstance(value, list) else []
    log = "log" in name or words.get("log") is True or "log" in (words.get("scale"), words.get("prior"))
    how = ", log: true" if log else ""
    step = words.get("step", words.get("q", value[2] if isinstance(value, list) and len(value) > 2 else None))
    if _is_number(step) and not log:
        how = f", step: {step}"
    if len(ends) < 2 or not all(map(_is_number, ends)):
        return f"{{{kind}: [low, high]{how}}}"
    return _range(ends, "float" if wanted == "float" else kind, how)


def _kind(name: str) -> str | None:
    """Return our kind of search for another tool's name."""
    word = name.removeprefix("suggest")
    if word in _CHOICES:
        return "choice"
    if word in _INTS or "randint" in word or ("int" in word and "uniform" in word):
        return "int"
    return "float" if word in _RANGES or "uniform" in word else None


def _range(ends: list[Any], kind: str, how: str = "") -> str:
    low, high = sorted(ends)
    kind = kind if all(isinstance(end, int) for end in ends) else "float"
    return f"{{{kind}: [{_flow(low)}, {_flow(high)}]{how}}}"


def _choice(values: object) -> str:
    return f"{{choice: {_flow(values)}}}" if isinstance(values, list) and values else "{choice: [one, another]}"


def _letters(word: object) -> str:
    return re.sub(r"[^a-z]", "", str(word).lower())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parsed(text: str) -> object:
    try:
        return read_yaml(text, "").tree
    except FileError:
        return None


def _flow(value: object) -> str:
    """Return a value as YAML on one line, cut if it is long."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000).strip().removesuffix("...").strip()
    return text if len(text) <= 80 else f"{text[:76]} ...{text[-1]}"
