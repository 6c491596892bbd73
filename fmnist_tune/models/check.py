"""Checking, before training, that a space's models can be built."""

from __future__ import annotations

from collections.abc import Iterable

from fmnist_tune.errors import FileError, Problem, UserError
from fmnist_tune.registry import PluginError, told
from fmnist_tune.tasks.config import TaskConfig


def check_models(configs: Iterable[TaskConfig], source: str) -> None:
    """Build once each model that needs files, fetching torchvision's, and each third-party model.

    A third-party model must also score two inputs. Imports torch only if there is such a model.

    Args:
        configs: of trials.
        source: their file, for messages.

    Raises:
        FileError: files are missing or do not fit, or a model is invalid; lists all problems.
    """
    wanted: dict[tuple[str, ...], TaskConfig] = {}
    for config in configs:
        if config.model.files or config.model.name not in config.models.built_in:
            wanted.setdefault((config.model.name, *config.model.files), config)
    problems = []
    for config in wanted.values():
        try:
            if config.model.name in config.models.built_in:
                config.build()
            else:
                _try_out(config)
        except UserError as error:
            path, _, message = str(error).partition(": ")
            problems.append(Problem(path, message) if path.startswith("model.") else Problem("model", str(error)))
        except PluginError as error:
            problems.append(Problem("model.name", f"{config.model.name}: {error}"))
    if problems:
        raise FileError(source, dict.fromkeys(problems))


def _try_out(config: TaskConfig) -> None:
    """Build a model, get its description, which is needed only at the end, and let it score two inputs.

    Raises:
        UserError: raised by its `build`.
        PluginError: anything else fails.
    """
    import torch

    from fmnist_tune.models.layers import n_params

    example = config.example()
    try:
        module = config.build()
        if not isinstance(module, torch.nn.Module):
            raise PluginError(f"build returned {module!r}, not a torch.nn.Module")
        if not n_params(module):
            raise PluginError("it has no parameter to train")
        if not isinstance(text := config.model.describe(), str) or not text:
            raise PluginError(f"describe returned {text!r}, not a text")
        if example is None:
            return
        x, n_classes = example
        with torch.inference_mode():
            scores = module.eval()(x)
    except (UserError, PluginError):
        raise
    except Exception as error:
        raise PluginError(f"it raised {told(error)}") from None
    found = tuple(scores.shape) if isinstance(scores, torch.Tensor) else f"a {type(scores).__name__}"
    if found != (2, n_classes):
        raise PluginError(f"of {tuple(x.shape)} inputs it made {found}; scores must be {(2, n_classes)}")
