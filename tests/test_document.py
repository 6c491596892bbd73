"""One document in three renderers: what a terminal shows as it is, a page shows as sentences, escaped."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from fmnist_tune.document.blocks import Code, Finding, Note, Plot, Section, Table
from fmnist_tune.document.page import to_html, to_markdown
from fmnist_tune.document.terminal import View

TABLE = Table(
    ("class", "kind", "recall, %"), [("Shirt", "top|half", "61.0"), ("Bag", "", "99.0")], ("kind",), (("kind",),)
)
DOCUMENT = Section(
    "study s",
    (
        "3 of 3 trials",
        Finding("1 of 3 trials failed: `OOM <b>`", is_warning=True),
        Section("best trial 2", ("validation accuracy 85.00 %", Note("by recall"), TABLE)),
        Section("plots", (Plot("a.png", "a plot"),)),
        Section("next", (Code("fmnist-tune report s --studies-dir somewhere"),)),
    ),
)


def printed(width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(View(DOCUMENT), crop=False)
    return console.export_text().splitlines()


def test_a_terminal_has_the_first_paragraph_beside_the_title_and_the_rest_below_it() -> None:
    assert printed(80) == [
        "study s: 3 of 3 trials",
        "  1 of 3 trials failed: `OOM <b>`",
        "best trial 2: validation accuracy 85.00 %",
        "  by recall",
        "  class  kind      recall, %",
        "  Shirt  top|half       61.0",
        "  Bag                   99.0",
        "plots:",
        "next:",
        "  fmnist-tune report s --studies-dir somewhere",
    ]


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (20, ["  class  recall, %", "  Shirt       61.0", "  Bag         99.0"]),
        (
            16,
            ["  Shirt", "    kind", "    top|half,", "    recall, %", "    61.0", "  Bag", "    recall, %", "    99.0"],
        ),
    ],
)
def test_a_narrow_terminal_leaves_optional_columns_out_or_lists_the_cells(width: int, lines: list[str]) -> None:
    found = printed(width)
    start = found.index("  by recall") + 1
    assert found[start : start + len(lines)] == lines
    assert found[-1] == "  fmnist-tune report s --studies-dir somewhere", "not folded"


def test_a_page_has_sentences_headings_and_escaped_cells() -> None:
    assert to_markdown(DOCUMENT) == (
        "# study s\n\n3 of 3 trials.\n\n- **Note:** 1 of 3 trials failed: `OOM <b>`.\n\n"
        "## Best trial 2\n\nValidation accuracy 85.00 %.\n\nBy recall.\n\n"
        "| class | kind | recall, % |\n| --- | --- | ---: |\n| Shirt | top\\|half | 61.0 |\n| Bag |  | 99.0 |\n\n"
        "## Plots\n\n![a plot](a.png)\n\n"
        "## Next\n\n```\nfmnist-tune report s --studies-dir somewhere\n```\n"
    )
    html = to_html(Section("t", (DOCUMENT,)))
    assert "<h3>Best trial 2</h3>" in html
    assert "<code>OOM &lt;b&gt;</code>.</li>" in html
    assert "Validation accuracy 85.00 %." in html
