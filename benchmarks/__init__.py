"""Where the figures of the documentation come from: each module is a command."""

import os

# What users have is measured: with this set, every process compiles all the Python that it imports, anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
