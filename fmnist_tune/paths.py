"""Paths as users write them."""

from __future__ import annotations

import os
from pathlib import Path


def user_path(text: str | Path) -> Path:
    """Return a path that an option, a file or a caller gives; `~` at its beginning is the home directory.

    A shell does that for words of its own alone, not in `--studies-dir=~/studies` and not in YAML.
    """
    return Path(os.path.expanduser(text))
