"""The reference pages that follow from the code: `python docs/generate.py` writes them.

`--check` compares instead, and exits with 1 where a page differs. Search-space keys come from the schema and its
docstrings, commands from the argument parser.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from fmnist_tune.cli.parser import build_parser
from fmnist_tune.config.defaults import NONE_MEANS
from fmnist_tune.config.schema import SETTINGS_KEYS, TRIAL_KEYS, Settings
from fmnist_tune.models.architectures import ARCHITECTURES, WEIGHT_FILES, WEIGHT_NAMES
from fmnist_tune.models.section import Model
from fmnist_tune.search.asha import SCHEDULERS
from fmnist_tune.search.scheduler import SchedulerSection
from fmnist_tune.section import Section
from fmnist_tune.tasks.config import TaskConfig
from fmnist_tune.tasks.registry import TASKS, find_task

DOCS = Path(__file__).resolve().parent
KEYS, COMMANDS = DOCS / "reference" / "search-space.md", DOCS / "reference" / "commands.md"

# What a validator makes of a value, where its type does not say it.
FORMS = {
    "study_name": "1 to 80 letters, digits, `.`, `_` or `-`; the first one a letter or digit",
    "seconds": "a time with its unit, such as `90s`, `10m`, `1.5h`",
    "_gpu_share": "`auto`, 0, a share such as 0.25, or an int",
    "_epochs_or_share": "an int, or a share in [0.01, 1)",
    "_task": f"{', '.join(f'`{name}`' for name in TASKS.built_in)}, "
    "or [one of your own](../developer/extending.md#a-task)",
    "_points": "list of mappings of dotted paths to values",
    "_average_weights": "`auto`, `true`, `false`",
    "_batch_size": "`full`, or int ≥ 1",
    "_architecture": "one of [these names](#architectures)",
    "_weights": f"`none`, {', '.join(f'`{name}`' for name in WEIGHT_NAMES)}, or a file "
    f"({', '.join(f'`{suffix}`' for suffix in WEIGHT_FILES)})",
}
# Defaults of a search that are others than the schema's, which hold for recipes and for older studies.
OF_SEARCHES = {
    "training.average_weights": "auto; false in a recipe",
    "search.pruner.min_epochs": "[by space and time](../concepts/scheduling.md#the-first-evaluation)",
}
# Of positional arguments that the parser does not explain.
WORDS = {"STUDY": "name of the study", "SPACE.yaml": "a search space or a recipe", "bash|zsh": "the shell"}

KEYS_HEAD = """\
# Search-space keys

Generated from the schema by `python docs/generate.py`.
[The search-space language](language.md) explains how a value is searched.
Only `study` and `model` with its `name` are required.
Any value under `model`, `training` and `data` can be searched; values under other keys are fixed.
"""
COMMANDS_HEAD = """\
# Commands

Generated from the argument parser by `python docs/generate.py`.
`fmnist-tune COMMAND --help` prints the same.
"""


def described(section: type[Section]) -> dict[str, str]:
    """Return what the docstrings of a section and its bases say of each key."""
    found: dict[str, str] = {}
    for cls in reversed(section.__mro__):
        _, _, attributes = (vars(cls).get("__doc__") or "").partition("Attributes:\n")
        entries = re.split(r"\n(?= {8}\w)", attributes.rstrip())
        for entry in filter(None, entries):
            name, _, text = " ".join(entry.split()).partition(": ")
            text = re.sub(r"; None for [^;]*\.$", ".", text)
            found[name] = text if ". " in text else text.rstrip(".")
    return found


def summary(section: type[Section]) -> str:
    """Return the first sentence of a section's docstring."""
    return " ".join((section.__doc__ or "").partition("\n\n")[0].split())


def is_section(annotation: Any) -> bool:
    """Return whether a value is a mapping with keys of its own."""
    return isinstance(annotation, type) and issubclass(annotation, Section)


def values(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """Return in words which values a key may have.

    Raises:
        KeyError: a type or a validator for which no words are known.
    """
    limits: dict[str, Any] = {}
    for item in metadata:
        if isinstance(item, FieldInfo):
            metadata = [*metadata, *item.metadata]
    for item in metadata:
        validator = getattr(item, "func", None)
        if validator is not None:
            return FORMS[validator.__name__]
        for name in ("gt", "ge", "lt", "le", "min_length", "max_length"):
            if getattr(item, name, None) is not None:
                limits[name] = getattr(item, name)
    origin, of = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return values(of[0], (*of[1:], *metadata))
    if origin in (Union, UnionType):
        (only,) = (kind for kind in of if kind is not NoneType)
        return values(only, metadata)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in of)
    if origin is list:
        return f"list of {values(of[0])}{_length(limits)}"
    if origin is dict:
        return f"mapping of {values(of[0])} to {values(of[1])}"
    return "`true`, `false`" if annotation is bool else annotation.__name__ + _range(limits)


def _length(limits: dict[str, Any]) -> str:
    low, high = limits.get("min_length", 0), limits.get("max_length")
    if high is None:
        return ""
    return f", {low} of them" if low == high else f", {low} to {high} of them"


def _range(limits: dict[str, Any]) -> str:
    low, high = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
    if high is None:
        return "" if low is None else f" {'≥' if 'ge' in limits else '>'} {low:,}"
    return f" in {'[' if 'ge' in limits else '('}{low}, {high}{']' if 'le' in limits else ')'}"


def default(section: type[Section], path: str, field: FieldInfo) -> str:
    """Return the value of a key that the file leaves out."""
    if field.is_required():
        return "required"
    if path in OF_SEARCHES and field.default is not None:
        return OF_SEARCHES[path]
    value = field.get_default(call_default_factory=True)
    if value is None:
        if issubclass(section, SchedulerSection):
            return "none"
        if not issubclass(section, Model):
            return NONE_MEANS[path]
        (name,) = get_args(section.model_fields["name"].annotation)
        return str(section(name=name).if_none().get(path.rpartition(".")[2], "none"))
    if path == "search.epoch_timeout":
        return f"{value / 3600:g}h"
    return "none" if value == {} else f"{value:g}" if isinstance(value, float) else json.dumps(value).strip('"')


def rows(section: type[Section], path: str) -> Iterator[str]:
    """Yield a row of a table for each key of a section that is not a section itself.

    Raises:
        KeyError: a key is not described in the section's docstring.
    """
    texts = described(section)
    for name, field in section.model_fields.items():
        if is_section(field.annotation) or (name == "model" and not path):
            continue
        key = f"{path}.{name}" if path else name
        allowed = values(field.annotation, field.metadata)
        yield f"| `{name}` | {allowed} | {default(section, key, field)} | {texts[name]} |"


def tables(section: type[Section], path: str, depth: int, *, suffix: str = "") -> Iterator[str]:
    """Yield the lines of a section: its heading, its keys, and the sections in it."""
    yield f"\n{'#' * depth} {path}{suffix}\n\n{summary(section)}\n"
    yield "| key | value | default | meaning |\n| --- | --- | --- | --- |"
    yield from rows(section, path)
    yield from _inner(section, path, depth, suffix=suffix)


def _inner(section: type[Section], path: str, depth: int, *, suffix: str = "") -> Iterator[str]:
    chosen = section.registries() if issubclass(section, TaskConfig) else {}
    for name, field in section.model_fields.items():
        place = f"{path}.{name}" if path else name
        if place == "search.pruner":
            for scheduler, kind in SCHEDULERS.built_in.items():
                yield from tables(kind, place, depth + 1, suffix=f" `{scheduler}`")
        elif is_section(field.annotation) and name not in chosen:
            yield from tables(field.annotation, place, depth + 1, suffix=suffix)


def keys_page() -> str:
    """Return docs/reference/search-space.md."""
    lines = [KEYS_HEAD, "## Top level\n", "| key | value | default | meaning |\n| --- | --- | --- | --- |"]
    texts, of_config = described(Settings), described(find_task(next(iter(TASKS.built_in))).config)
    shown = {line.split("`")[1]: line for line in rows(Settings, "")}
    for key in (*SETTINGS_KEYS, *TRIAL_KEYS):
        text = texts.get(key) or of_config[key]
        needed = "required" if key == "model" else "all defaults"
        lines.append(shown.get(key, f"| `{key}` | a mapping | {needed} | {text} |"))
    lines += _inner(Settings, "", 1)
    for task in TASKS.built_in:
        config = find_task(task).config
        lines.append(f"\n## Task {task}")
        for section, registry in config.registries().items():
            for name, kind in replace(registry, found={}).known().items():  # ours alone
                lines += tables(kind, section, 3, suffix=f" `{name}` of {task}")
        lines += _inner(config, "", 2, suffix=f" of {task}")
    lines.append("\n## Architectures\n\nThe names that `model.architecture` takes:\n")
    lines.append(", ".join(f"`{name}`" for name in ARCHITECTURES) + ".")
    return "\n".join(lines) + "\n"


class Reader(argparse.HelpFormatter):
    """Keeps what a parser would print: its arguments, by the titles of their groups."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog)
        self.title = ""
        self.found: dict[str, list[argparse.Action]] = {}

    def start_section(self, heading: str | None) -> None:
        self.title = heading or ""

    def end_section(self) -> None:
        self.title = ""

    def add_arguments(self, actions: Iterable[argparse.Action]) -> None:
        self.found.setdefault(self.title, []).extend(actions)

    def format_help(self) -> str:
        return ""


def arguments_of(parser: argparse.ArgumentParser) -> dict[str, list[argparse.Action]]:
    """Return a parser's arguments by group, in the order of its help."""
    readers: list[Reader] = []

    def reader(prog: str) -> Reader:
        readers.append(Reader(prog))
        return readers[-1]

    usual, parser.formatter_class = parser.formatter_class, reader
    try:
        parser.format_help()
    finally:
        parser.formatter_class = usual
    return readers[-1].found


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """Return the options that a command takes."""
    return {option for group in arguments_of(parser).values() for action in group for option in action.option_strings}


def _argument(action: argparse.Action) -> str:
    names = ", ".join(action.option_strings)
    word = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    takes_value = action.nargs != 0
    return " ".join(filter(None, [names, str(word) if takes_value or not names else ""]))


def _table(actions: Iterable[argparse.Action]) -> list[str]:
    lines = ["| argument | meaning |", "| --- | --- |"]
    for action in actions:
        shown = _argument(action).replace("|", "\\|")
        help_text = (action.help or WORDS[_argument(action)]).replace("|", "\\|")
        lines.append(f"| `{shown}` | {help_text} |")
    return lines


def _usage(name: str, actions: Iterable[argparse.Action], *, has_options: bool) -> str:
    words = ["fmnist-tune", name]
    for action in actions:
        word = str(action.metavar or "|".join(map(str, action.choices or [action.dest.upper()])))
        words.append(f"{word}..." if action.nargs == "+" else word)
    return " ".join([*words, *(["[options]"] if has_options else [])])


def _exclusive(parser: argparse.ArgumentParser) -> list[str]:
    usage = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", parser.format_usage()).split())  # in colour from Python 3.14 on
    groups = re.findall(r"\[(--[^\[\]]*? \| [^\[\]]*?)\]", usage)
    names = [[f"`{part.split()[0]}`" for part in group.split(" | ")] for group in groups]
    return [f"{', '.join(words[:-1])} and {words[-1]}" for words in names]


def commands_page() -> str:
    """Return docs/reference/commands.md."""
    parser, commands = build_parser()
    shared = {name: arguments_of(command) for name, command in commands.items()}
    common = next(iter(shared.values()))["common options"]
    lines = [COMMANDS_HEAD, f"{parser.epilog}\n", "| command | does |", "| --- | --- |"]
    for name, command in commands.items():
        lines.append(f"| [`{name}`](#{name}) | {(command.description or '').rstrip('.')} |")
    lines += ["\n## Common options\n", "Every command takes these.\n", *_table(common)]
    own = [action for group in arguments_of(parser).values() for action in group if action.option_strings]
    lines += ["", "Without a command:\n", *_table(own)]
    for name, groups in shared.items():
        actions = [a for title, group in groups.items() if title != "common options" for a in group]
        actions = [a for a in actions if "--help" not in a.option_strings]
        words = [a for a in actions if not a.option_strings]
        options = [a for a in actions if a.option_strings]
        usage = _usage(name, words, has_options=bool(options))
        lines += [f"\n## {name}\n", f"{commands[name].description}\n", f"```\n{usage}\n```"]
        if actions:
            lines += ["", *_table([*words, *options])]
        for pair in _exclusive(commands[name]):
            lines += ["", f"{pair} exclude each other."]
    return "\n".join(lines) + "\n"


def pages() -> dict[Path, str]:
    """Return the content of each generated page."""
    return {KEYS: keys_page(), COMMANDS: commands_page()}


def outdated(wanted: Mapping[Path, str]) -> list[Path]:
    """Return the pages that are not there, or have another text than is wanted."""
    return [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]


def main(argv: list[str] | None = None) -> int:
    """Write the pages, or compare them; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a page differs")
    is_check = parser.parse_args(argv).check
    differs = outdated(pages())
    for path in differs:
        if is_check:
            print(f"{path.relative_to(DOCS.parent)} differs: run python docs/generate.py", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(pages()[path], encoding="utf-8")
            print(path.relative_to(DOCS.parent))
    return 1 if is_check and differs else 0


if __name__ == "__main__":
    sys.exit(main())
