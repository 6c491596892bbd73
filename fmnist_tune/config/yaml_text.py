"""YAML text to plain data, with the line of every value and none of YAML 1.1's surprises; and back."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import yaml

from fmnist_tune.errors import FileError, Problem

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MERGE_KEY = (
    "YAML 1.2 has no merge keys; write the keys out here, or let an alias stand for the whole section "
    "(training: {optimizer: *anchor})"
)


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core scalars: 1e-4 is a number; yes, no, on, off, 1:30 and dates are strings."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
# Numbers, as arguments of PyYAML's resolvers: tag, pattern, first characters.
NUMBERS = (
    ("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        re.compile(
            r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
        ),
        list("-+0123456789."),
    ),
)
for resolver in NUMBERS:
    _Loader.add_implicit_resolver(*resolver)


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    value = int(node.value)  # SafeLoader reads 010 as octal 8
    if abs(value) >= 2**63:
        raise ValueError(f"{node.value[:24]} is too large for a whole number")
    return value


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


@dataclass
class Document:
    """The content of a YAML file.

    Attributes:
        source: the file's name.
        tree: dicts, lists and scalars.
        lines: the line (from 1) of each value, by its dotted path.
        problems: of single values and keys, which are left out.
    """

    source: str
    tree: Any = None
    lines: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read_yaml(text: str, source: str) -> Document:
    """Parse one YAML document.

    Raises:
        FileError: it is not YAML, has several documents or tabs, is nested too deep, or has an alias inside itself.
    """
    if len(text) > MAX_BYTES:
        raise FileError(source, [Problem("", f"{len(text)} characters; a search space has at most {MAX_BYTES}")])
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.YAMLError as error:
        raise FileError(source, [_syntax_problem(error, text)]) from None
    except RecursionError:
        raise FileError(source, [Problem("", f"nested deeper than {MAX_DEPTH} levels")]) from None
    document = Document(source)
    if root is not None:
        document.tree = _construct(loader, root, (), document)
    return document


def _syntax_problem(error: yaml.YAMLError, text: str) -> Problem:
    mark = getattr(error, "problem_mark", None)
    line = mark.line + 1 if mark is not None else None
    lines = text.splitlines()
    if line is not None and line <= len(lines) and "\t" in re.match(r"\s*", lines[line - 1]).group():  # type: ignore[union-attr]  # \s* always matches
        return Problem("", "a tab in the indentation; YAML allows spaces only", line)
    what = getattr(error, "problem", None) or str(error).splitlines()[0]
    return Problem("", f"not YAML: {what}", line)


def _construct(loader: _Loader, node: yaml.Node, path: tuple[str, ...], document: Document) -> Any:
    lines, problems = document.lines, document.problems
    line = node.start_mark.line + 1
    name = ".".join(path)
    lines.setdefault(name, line)
    if len(path) > MAX_DEPTH:
        raise FileError(
            document.source,
            [Problem(name[:60], f"nested deeper than {MAX_DEPTH} levels, or an alias inside itself", line)],
        )
    if len(lines) > 100_000:
        raise FileError(document.source, [Problem("", "more than 100,000 values once aliases are expanded")])
    if isinstance(node, yaml.MappingNode):
        result: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                problems.append(Problem(name, "a key must be a word or a number", key_node.start_mark.line + 1))
                continue
            key = _construct_scalar(loader, key_node, name, problems)
            child = (*path, str(key))
            key_line = key_node.start_mark.line + 1
            if key == "<<":
                problems.append(Problem(".".join(child), MERGE_KEY, key_line))
                continue
            if key in result:
                problems.append(Problem(".".join(child), "given twice", key_line))
            result[key] = _construct(loader, value_node, child, document)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_construct(loader, item, (*path, str(i)), document) for i, item in enumerate(node.value)]
    return _construct_scalar(loader, node, name, problems)


def _construct_scalar(loader: _Loader, node: yaml.Node, name: str, problems: list[Problem]) -> Any:
    """Return a scalar's value; None, with a problem recorded under `name`, if it is invalid."""
    try:
        value = loader.construct_object(node)
        if value is None or isinstance(value, str | int | float):
            return value
        what = f"{node.value!r} is a {type(value).__name__}; allowed are text, numbers, true, false and null"
    except (yaml.YAMLError, ValueError) as error:
        what = getattr(error, "problem", None) or str(error)
    except (KeyError, AttributeError, IndexError):  # from PyYAML's constructors, for a wrong tag: `!!bool maybe`
        what = f"{node.value!r} is no {node.tag.rpartition(':')[2]}"
    problems.append(Problem(name, what, node.start_mark.line + 1))
    return None


def dump_yaml(tree: object) -> str:
    """Return YAML text with the keys in their order, lists and small mappings on one line."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Writes 1e-4 as 1.0e-4, which YAML 1.1 readers take for a number too; aliases are written out."""

    def ignore_aliases(self, data: object) -> bool:
        return True


for resolver in NUMBERS:  # texts that would be read as numbers are put into quotes: `08`, `1e5`
    _Dumper.add_implicit_resolver(*resolver)
