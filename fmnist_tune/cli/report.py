"""`report`."""

from __future__ import annotations

import argparse
import json
import sys

from fmnist_tune.cli import EXIT_OK
from fmnist_tune.cli.store import load_record
from fmnist_tune.report.run import write_report


def report(arguments: argparse.Namespace, started: float) -> int:
    """Write a study's report and print where it is."""
    record = load_record(arguments)
    paths = write_report(record, arguments.data_dir, log=lambda text: print(text, file=sys.stderr))
    if arguments.json:
        files = [str(path) for path in paths.files]
        print(json.dumps({"study": record.paths.name, "report": str(paths.html), "files": files}))
    else:
        print(paths.html)
    return EXIT_OK
