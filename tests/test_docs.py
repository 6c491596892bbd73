"""The pages: what is generated follows from the code, what is linked is there, what is shown can be typed."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from fmnist_tune.cli.parser import build_parser
from fmnist_tune.search.scheduler import Scheduler, SchedulerSection
from fmnist_tune.section import Section
from fmnist_tune.tasks import EpochRun, Objective, Task, TaskConfig
from fmnist_tune.tasks.images import DataSet, ModelSection

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "benchmarks" / "RESULTS.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"!?\[(?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*\]\(([^)\s]+)\)")
HASH = re.compile(r"\b(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{7,40}\b")
WORD = re.compile(r"[\w'./%-]*\w[\w'./%-]*")
MAX_README_WORDS = 600
# The classes that a part of the page on extending is about, and what follows in them from the rest.
EXTENDED: dict[str, dict[type, set[str]]] = {
    "A model": {ModelSection: set()},
    "A scheduler": {SchedulerSection: {"name", "first_milestone"}, Scheduler: {"last_epoch"}},
    "A data set": {DataSet: {"own_keys", "display_name"}},
    "A task": {
        Task: {"result_key", "result_name"},
        TaskConfig: {"schedule", "without_early_stopping"},
        Objective: {"curve_label", "curve_name", "curve_text"},
        EpochRun: {"has_begun", "progress"},
    },
}


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = load_generator()


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(text: str) -> str:
    """Return a page's text without code blocks."""
    return BLOCK.sub("", text)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#+ +(.*?) *$", prose(page.read_text(encoding="utf-8")), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        n = found.get(slug, 0)
        found[slug] = n + 1
        names.add(f"{slug}-{n}" if n else slug)
    return names


def commands_in(text: str) -> Iterator[list[str]]:
    """Yield the words after `fmnist-tune` wherever a page shows a command as code."""
    code = [block.strip("`") for block in BLOCK.findall(text)]
    code += [" ".join(span.split()) for span in SPAN.findall(prose(text))]
    for part in code:
        for line in re.split(r"\n|&&|;", part):
            for shown in re.findall(r"(?<![\w/.~-])fmnist-tune(?= |$)([^|>)]*)", line.partition("#")[0]):
                yield shown.strip().strip("\"'").split()


def broken_links(page: Path) -> list[str]:
    broken = []
    for target in LINK.findall(prose(page.read_text(encoding="utf-8"))):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", generate.pages(), ids=lambda page: page.name)
def test_a_generated_page_is_what_the_schema_and_the_parser_give_now(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == generate.pages()[page], "run python docs/generate.py"


def test_a_page_that_is_missing_or_another_one_is_outdated(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    assert generate.outdated({page: "text"}) == [page]
    page.write_text("text")
    assert generate.outdated({page: "text"}) == []
    assert generate.outdated({page: "another"}) == [page]


def test_the_committed_pages_pass_the_generators_own_check() -> None:
    assert generate.main(["--check"]) == 0


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_and_anchor_resolves(page: Path) -> None:
    assert broken_links(page) == []


def test_a_missing_file_and_a_missing_anchor_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `two`\n[a](page.md#one-two) [b](#three) [c](gone.md) [d](https://example.org)\n")
    assert broken_links(page) == ["#three", "gone.md"]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_names_a_commit(page: Path) -> None:
    assert HASH.findall(page.read_text(encoding="utf-8")) == []


def test_a_commit_is_told_from_numbers_and_words() -> None:
    assert HASH.findall("at 48debd7, not 1000000 nor effaced nor 4f") == ["48debd7"]


def test_the_readme_has_at_most_600_words_outside_code_and_tables() -> None:
    text = re.sub(r"^\|.*$", "", prose((ROOT / "README.md").read_text(encoding="utf-8")), flags=re.MULTILINE)
    assert len(WORD.findall(re.sub(r"\]\([^)]*\)", "]", text))) <= MAX_README_WORDS


def test_the_readme_has_its_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "\npip install -e . && fmnist-tune search search_spaces/cnn.yaml\n" in text
    assert "\npip install -e '.[test]' && pytest\n" in text


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_that_a_page_shows_exists_with_its_options(page: Path) -> None:
    parser, commands = build_parser()
    own = generate.options_of(parser)
    unknown = []
    for words in commands_in(page.read_text(encoding="utf-8")):
        name = next((word for word in words if not word.startswith("-")), None)
        known = own if name in (None, "COMMAND") else set()
        if name in commands:
            known = generate.options_of(commands[name])
        elif name not in (None, "COMMAND"):
            unknown.append(f"fmnist-tune {name}")
        unknown += [f"{name} {w}" for w in words if w.startswith("-") and w.split("=")[0].rstrip(".,") not in known]
    assert [text for text in unknown if text != "COMMAND --help"] == []


def test_shown_commands_are_found_in_code_alone() -> None:
    text = "fmnist-tune never\n```\npip install . && fmnist-tune search A --quit   # fmnist-tune b\n```\nsee `fmnist-tune show\nX --json`"
    assert list(commands_in(text)) == [["search", "A", "--quit"], ["show", "X", "--json"]]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_benchmark_that_a_page_names_exists(page: Path) -> None:
    modules = set(re.findall(r"python -m (benchmarks[\w.]*\w)", page.read_text(encoding="utf-8")))
    places = {name: ROOT / name.replace(".", "/") for name in modules}
    files = {
        name: place / "__main__.py" if place.is_dir() else place.with_suffix(".py") for name, place in places.items()
    }
    assert [name for name, file in files.items() if not file.exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_of_ours_that_a_page_names_exists(page: Path) -> None:
    named = set(
        re.findall(
            r"`((?:fmnist_tune|search_spaces|tests|benchmarks|docs)/[\w./-]+\w)/?`", page.read_text(encoding="utf-8")
        )
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("heading", EXTENDED)
def test_the_page_on_extending_names_all_that_a_class_of_ones_own_may_override(heading: str) -> None:
    page = (ROOT / "docs" / "developer" / "extending.md").read_text(encoding="utf-8")
    part = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    named = {match for span in SPAN.findall(prose(part)) for match in re.findall(r"^\w+", span)}
    for kind, derived in EXTENDED[heading].items():
        names = members(kind)
        assert derived <= names, kind
        assert not names - derived - named, kind


def members(kind: type) -> set[str]:
    """Return the public names that a class of ours, and its bases of ours, define."""
    ours = [c for c in kind.__mro__ if c.__module__.startswith("fmnist_tune.") and c is not Section]
    names = {name for c in ours for name in (*vars(c), *getattr(c, "__annotations__", {}))}
    return {name for name in names if not name.startswith("_") and name != "model_config"}
