"""`report`."""

from __future__ import annotations

import argparse
import json
import sys

from fmnist_tune.cli import EXIT_OK
from fmnist_tune.cli.store import load_record
from fmnist_tune.study.dashboard import publish


def report(arguments: argparse.Namespace, started: float) -> int:
    """Write a study's report, show it in the dashboard too, and print where it is."""
    record = load_record(arguments)
    from fmnist_tune.report.run import write_report  # matplotlib takes a second, and a folder for its cache

    paths = write_report(record, arguments.data_dir, log=lambda text: print(text, file=sys.stderr))
    if not record.is_running:  # then the driver alone writes the study
        by_suffix = {kind: [path for path in paths.files if path.suffix == kind] for kind in (".png", ".csv")}
        publish(record, by_suffix[".png"], by_suffix[".csv"])
    if arguments.json:
        files = [str(path) for path in paths.files]
        print(json.dumps({"study": record.paths.name, "report": str(paths.html), "files": files}))
    else:
        print(paths.html)
    return EXIT_OK
