"""torchvision's classification models for any number of channels: building, loading weights, freezing."""

from __future__ import annotations

import contextlib
import pickle
import re
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import get_model, get_model_weights

from fmnist_tune.errors import UserError, near_file
from fmnist_tune.files import user_path
from fmnist_tune.models.architectures import WEIGHT_FILES
from fmnist_tune.models.section import ImageSpec
from fmnist_tune.models.torchvision import Torchvision

_LAYERS = (nn.Conv2d, nn.Linear)  # squeezenet's classifier is a convolution
# torchvision's DenseNet files are older than dots as module separators; its own builder renames keys in this way.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")


class Backbone(nn.Module):
    """An architecture with its first convolution adapted to our channels and its last layer to our classes.

    For an image of one channel, the result equals the original's for that image in all three channels.
    """

    def __init__(self, section: Torchvision, spec: ImageSpec) -> None:
        """Build the architecture, with torchvision's initialisation where no weights are loaded.

        Args:
            section: of the configuration.
            spec: of the images.

        Raises:
            UserError: the weights are missing, or do not fit.
        """
        super().__init__()
        self.image_size = section.image_size
        self.frozen = section.frozen
        self.network: nn.Module = get_model(section.architecture, weights=None, num_classes=spec.n_classes)
        layers = [(name, layer) for name, layer in self.network.named_modules() if isinstance(layer, _LAYERS)]
        first = next(layer for _, layer in layers if isinstance(layer, nn.Conv2d))
        self._classifier, last = layers[-1]
        if section.weights != "none":
            _load(self.network, section, self._classifier)
        if spec.channels != first.in_channels:
            first.in_channels = spec.channels
            grey = first.weight.detach().sum(dim=1, keepdim=True)
            first.weight = nn.Parameter(grey.repeat(1, spec.channels, 1, 1) / spec.channels)
        if self.frozen:
            self.network.requires_grad_(False)
            last.requires_grad_(True)
        if section.dropout:
            self.network.set_submodule(self._classifier, nn.Sequential(nn.Dropout(section.dropout), last))

    def train(self, mode: bool = True) -> Backbone:
        """Switch to training mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.network.eval()
            self.network.get_submodule(self._classifier).train(mode)
        return self

    def forward(self, x_NCHW: Tensor) -> Tensor:
        if x_NCHW.shape[-2:] != (self.image_size, self.image_size):
            x_NCHW = F.interpolate(x_NCHW, size=self.image_size, mode="bilinear", align_corners=False)
        scores: Tensor = self.network(x_NCHW)
        return scores


def _load(network: nn.Module, section: Torchvision, classifier: str) -> None:
    """Load the weights given in the section, except the classifier's."""
    state = _read_file(user_path(section.weights)) if section.weights.endswith(WEIGHT_FILES) else _fetch(section)
    state = {
        _OLD_DENSENET.sub(r"\1\2.", name): tensor
        for name, tensor in state.items()
        if not name.startswith(f"{classifier}.")
    }
    try:
        missing, unknown = network.load_state_dict(state, strict=False)
    except RuntimeError as error:  # the first line only says that there was an error
        complaint = str(error).splitlines()[1].strip()
        raise UserError(f"model.weights: {section.weights} does not fit {section.architecture}: {complaint}") from None
    # Older files have no batch counters.
    missing = [
        name for name in missing if not name.startswith(f"{classifier}.") and not name.endswith("num_batches_tracked")
    ]
    if missing or unknown:
        counts = [
            f"{len(names)} of its tensors {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            for what, names in (("are missing", missing), ("are not known", unknown))
            if names
        ]
        raise UserError(f"model.weights: {section.weights} does not fit {section.architecture}: {' and '.join(counts)}")


def _read_file(path: Path) -> Mapping[str, Tensor]:
    """Read a state_dict; executes no code from the file."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"model.weights: {path}: no such file (looked for in {Path.cwd()}){near_file(path)}") from None
    except (
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        SafetensorError,
    ) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error).strip().split("\n")[0]
        raise UserError(f"model.weights: {path}: cannot be read as weights alone: {why}") from None
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        what = (
            f"a mapping of {', '.join(map(str, list(state)[:3]))}" if isinstance(state, Mapping) else "another object"
        )
        raise UserError(f"model.weights: {path}: not a state_dict (tensors by name), but {what}")
    return state


def _fetch(section: Torchvision) -> Mapping[str, Tensor]:
    """Return torchvision's weights by name, from torch's cache or its site."""
    known = get_model_weights(section.architecture).__members__
    if section.weights not in known:
        raise UserError(
            f"model.weights: torchvision has no {section.weights} for {section.architecture}; "
            f"it has {', '.join(known) or 'none'}"
        )
    entry = known[section.weights]
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torch prints its downloads
            state: Mapping[str, Tensor] = entry.get_state_dict(
                progress=False, check_hash=True, map_location="cpu", weights_only=True
            )
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        name = entry.url.rsplit("/", 1)[-1]
        raise UserError(
            f"model.weights: {section.weights} of {section.architecture} could not be fetched ({error}); on a machine "
            f"with network download {entry.url}, copy it here, and name the file: weights: {name} "
            f"(or put it into {torch.hub.get_dir()}/checkpoints)"
        ) from None
    return state
