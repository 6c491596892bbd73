"""Libraries by their public names, and nothing of them or of ours replaced; ruff's SLF and PLC2701 find the rest."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("fmnist_tune", "tests", "benchmarks")
# To be rewritten without what is not allowed; each goes from here with its last such line.
PENDING: tuple[str, ...] = ()
DUNDERS = ("__future__", "__main__")
STREAMS = ("sys.stdout", "sys.stderr")  # documented to be assigned to
CHANGES_A_DICT = ("pop", "popitem", "setdefault", "update", "clear", "__setitem__", "__delitem__")
BY_NAME = ("getattr", "hasattr", "setattr", "delattr")
IMPORTS_BY_NAME = ("import_module", "__import__", "find_spec", "importorskip")


def found_in(source: str) -> list[tuple[int, str]]:
    """Return line and reason of everything in a module that is not allowed, also in programs that it has as text."""
    tree = ast.parse(source)
    imported = {name for node in ast.walk(tree) for name in _bound(node)}
    found = [(node.lineno, reason) for node in ast.walk(tree) for reason in _reasons(node, imported)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "import" in node.value:
            try:
                program = ast.parse(node.value)
            except SyntaxError:  # no program
                continue
            found += [(node.lineno, reason) for _, reason in found_in(node.value)]
            found += [(node.lineno, reason) for part in ast.walk(program) for reason in _private_members(part)]
    return found


def _bound(node: ast.AST) -> Iterator[str]:
    """Yield the names that an import binds."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)


def _private_members(node: ast.AST) -> Iterator[str]:
    """Yield what ruff's SLF says, which does not read programs in texts."""
    if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
        yield from () if _dotted(node.value) in ("self", "cls") else (f"private member {node.attr}",)


def _reasons(node: ast.AST, imported: set[str]) -> Iterator[str]:
    match node:
        case ast.Import():
            yield from (reason for alias in node.names for reason in _reasons_of_path(alias.name))
        case ast.ImportFrom():
            for alias in node.names:
                yield from _reasons_of_path(f"{node.module or ''}.{alias.name}")
        case ast.Assign() | ast.Delete():
            yield from (reason for target in node.targets for reason in _reasons_of_target(target, imported))
        case ast.AugAssign() | ast.AnnAssign():
            yield from _reasons_of_target(node.target, imported)
        case ast.Call():
            yield from _reasons_of_call(node, imported)


def _reasons_of_path(path: str) -> Iterator[str]:
    if any(part.startswith("_") and part not in DUNDERS for part in path.split(".")):
        yield f"imports {path}, a private name"
    if path.startswith("unittest.mock"):
        yield f"imports {path}, which replaces things"
    if path == "sys.modules":
        yield "imports sys.modules by another name"


def _reasons_of_target(target: ast.expr, imported: set[str]) -> Iterator[str]:
    if isinstance(target, ast.Tuple | ast.List):
        yield from (reason for part in target.elts for reason in _reasons_of_target(part, imported))
    elif isinstance(target, ast.Subscript) and _dotted(target.value) == "sys.modules":
        yield "changes sys.modules"
    elif isinstance(target, ast.Attribute):
        path = _dotted(target)
        if path is not None and path.partition(".")[0] in imported and path not in STREAMS:
            yield f"changes {path}, an attribute of something imported"


def _reasons_of_call(node: ast.Call, imported: set[str]) -> Iterator[str]:
    path = _dotted(node.func) or ""
    owner, _, name = path.rpartition(".")
    first = _dotted(node.args[0]) if node.args else None
    texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    if owner == "sys.modules" and name in CHANGES_A_DICT:
        yield "changes sys.modules"
    if path in ("setattr", "delattr") and first is not None and first.partition(".")[0] in imported:
        yield f"{path} on {first}, something imported"
    if path in BY_NAME and any(text.startswith("_") and not text.startswith("__") for text in texts):
        yield f"{path} of a private name"
    if owner and name in ("setattr", "delattr", "setitem", "delitem"):
        yield f"{path} replaces something"
    if owner.rpartition(".")[2] in ("mock", "mocker", "patch") or path == "patch":
        yield f"{path} replaces something"
    if name in IMPORTS_BY_NAME or path in IMPORTS_BY_NAME:
        yield from (reason for text in texts for reason in _reasons_of_path(text))


def _dotted(node: ast.expr) -> str | None:
    """Return `a.b.c` of a name and its attributes; None of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = _dotted(node.value)
        return None if owner is None else f"{owner}.{node.attr}"
    return None


def test_nothing_private_is_imported_and_nothing_imported_is_replaced() -> None:
    files = [path.relative_to(ROOT) for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 200
    found = {
        f"{path}:{line}: {reason}"
        for path in files
        if path.as_posix() not in (*PENDING, "tests/test_public_names.py")
        for line, reason in found_in((ROOT / path).read_text(encoding="utf-8"))
    }
    assert sorted(found) == []


@pytest.mark.parametrize(
    "sample",
    [
        "import sys; sys.modules['pandas'] = object()",
        "import sys; del sys.modules['pandas']",
        "import sys; sys.modules.pop('pandas')",
        "import sys; sys.modules.setdefault('pandas', sys)",
        "from sys import modules",
        "import shutil; setattr(shutil, 'move', print)",
        "from shutil import Error; delattr(Error, 'args')",
        "import shutil; shutil.move = print",
        "from shutil import Error; Error.args = ()",
        "from unittest import mock",
        "import unittest.mock as m",
        "from unittest.mock import patch",
        "with mock.patch('shutil.move'): pass",
        "with patch.object(shutil, 'move'): pass",
        "with mock.patch.dict('os.environ'): pass",
        "def test(mocker): mocker.patch('shutil.move')",
        "def test(monkeypatch): monkeypatch.setattr('shutil.move', print)",
        "def test(monkeypatch): monkeypatch.delattr(shutil, 'move')",
        "def test(monkeypatch): monkeypatch.setitem(sys.modules, 'pandas', None)",
        "import ray._private.node",
        "from ray._private.node import Node",
        "from ray import _raylet",
        "import importlib; importlib.import_module('torch._dynamo')",
        "getattr(study, '_storage')",
        "PROGRAM = 'import torch; torch.cuda = None'",
        "PROGRAM = 'import torch; print(torch._dynamo)'",
    ],
)
def test_a_private_name_or_a_replacement_is_found(sample: str) -> None:
    assert found_in(sample)


@pytest.mark.parametrize(
    "sample",
    [
        "from __future__ import annotations",
        "import sys; print('torch' in sys.modules)",
        "import sys; sys.stdout = None",
        "import os; os.environ['A'] = 'b'",
        "setattr(session.hparams[0], 'value', 1)",
        "class A:\n    def __init__(self): self._a = 1",
        "def test(monkeypatch): monkeypatch.setenv('A', 'b')",
        "'''How to import a study.'''",
    ],
)
def test_what_is_allowed_is_not_found(sample: str) -> None:
    assert found_in(sample) == []


def test_no_module_has_over_300_lines_and_no_class_over_200() -> None:
    for path in (ROOT / "fmnist_tune").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert len(source.splitlines()) <= 300, path
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                assert node.end_lineno is not None
                assert node.end_lineno - node.lineno < 200, f"{path}: {node.name}"
