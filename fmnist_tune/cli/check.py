"""`check`."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from fmnist_tune.cli import EXIT_OK
from fmnist_tune.cli.inputs import load_file
from fmnist_tune.cli.store import stdout
from fmnist_tune.config.defaults import default_values, fixed_values
from fmnist_tune.models.check import check_models
from fmnist_tune.study.space_table import space_view


def check(arguments: argparse.Namespace, started: float) -> int:
    """Check a search space."""
    space = load_file(arguments, arguments.space)
    check_models(space.corner_configs(), space.source)
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
        result = {
            "study": space.settings.study,
            "parameters": parameters,
            "initial": space.initial,
            "fixed": [{"path": path, "value": value} for path, value in fixed_values(space).items()],
            "defaults": [asdict(default) for default in default_values(space)],
            "warnings": space.warnings,
        }
        print(json.dumps(result))
    else:
        stdout().print(space_view(space), crop=False)
    return EXIT_OK
