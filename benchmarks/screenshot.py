"""A terminal as a picture: `tmux capture-pane -e -p -t SESSION | python -m benchmarks.screenshot FILE.svg`."""

from __future__ import annotations

import io
import sys

from rich.console import Console
from rich.text import Text


def main() -> None:
    """Turn text with ANSI colours on stdin into an SVG file."""
    lines = [line.rstrip() for line in sys.stdin.read().rstrip().splitlines()]
    width = max(len(Text.from_ansi(line).plain) for line in lines)
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(Text.from_ansi(line), soft_wrap=True)
    console.save_svg(sys.argv[1], title="fmnist-tune")


if __name__ == "__main__":
    main()
