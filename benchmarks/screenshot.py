"""A terminal as an image: `tmux capture-pane -e -p -t SESSION | python -m benchmarks.screenshot FILE.svg`."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.ansi import AnsiDecoder
from rich.console import Console


def main() -> None:
    """Turn text with ANSI colours on stdin into an SVG file without remote fonts."""
    lines = list(AnsiDecoder().decode(sys.stdin.read().rstrip()))
    console = Console(record=True, width=max(len(line) for line in lines), file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(line, soft_wrap=True)
    svg = console.export_svg(title="fmnist-tune")
    Path(sys.argv[1]).write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
