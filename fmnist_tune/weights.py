"""Whether the pretrained weights that configurations name are there and fit, found out before training."""

from __future__ import annotations

from collections.abc import Iterable

from fmnist_tune.config.model import Torchvision
from fmnist_tune.config.tasks import AnyConfig
from fmnist_tune.errors import FileError, Problem, UserError


def check_weights(configs: Iterable[AnyConfig], source: str) -> None:
    """Build each model that needs weights once, which fetches those that torchvision has; imports torch only for that.

    Args:
        configs: of trials.
        source: the file that they come from, for messages.

    Raises:
        FileError: weights are not there, or do not fit; all that was found.
    """
    wanted = {
        (model.architecture, model.weights): model
        for model in (config.model for config in configs)
        if isinstance(model, Torchvision) and model.weights != "none"
    }
    problems = []
    for model in wanted.values():
        from fmnist_tune.backbone import Backbone

        try:
            Backbone(model, pretrained=True)
        except UserError as error:
            path, _, message = str(error).partition(": ")
            problems.append(Problem(path, message))
    if problems:
        raise FileError(source, dict.fromkeys(problems))
