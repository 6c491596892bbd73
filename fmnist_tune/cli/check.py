"""`check`."""

from __future__ import annotations

import argparse
import json

from fmnist_tune.cli import EXIT_OK
from fmnist_tune.cli.store import stdout
from fmnist_tune.config import load_space
from fmnist_tune.study.render import space_table
from fmnist_tune.weights import check_weights


def check(arguments: argparse.Namespace, started: float) -> int:
    """Check a search space."""
    space = load_space(arguments.space)
    check_weights(space.corner_configs(), space.source)
    if arguments.json:
        parameters = [
            {
                "path": p.path,
                **vars(p.domain),
                "kind": type(p.domain).__name__.removesuffix("Domain").lower(),
                "when": dict(p.when),
            }
            for p in space.parameters
        ]
        print(json.dumps({"study": space.settings.study, "parameters": parameters, "warnings": space.warnings}))
    else:
        stdout().print(space_table(space), crop=False)
    return EXIT_OK
