"""The model factory: from a model section to a PyTorch module over pictures of shape (N, 1, H, W)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fmnist_tune.config.schema import N_CLASSES, Cnn, Mlp

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "leaky_relu": lambda: nn.LeakyReLU(0.01, inplace=True),
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
# Nondecreasing, so they commute with taking a maximum: pooling first leaves them a quarter of the work.
_MONOTONE = ("relu", "leaky_relu", "tanh")


def build_model(model: Mlp | Cnn, image_size: int) -> nn.Module:
    """Build a model with PyTorch's default initialisation, drawn from the global generator.

    Args:
        model: its section of the configuration.
        image_size: height and width of the pictures in pixels.

    Returns:
        Module from float (N, 1, H, W) to unnormalised scores (N, 10).

    Raises:
        ValueError: the pictures are too small for its blocks.
    """
    return _mlp(model, image_size) if isinstance(model, Mlp) else _cnn(model, image_size)


def n_params(model: nn.Module) -> int:
    """Count trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _mlp(mlp: Mlp, image_size: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    width = image_size**2
    for hidden in mlp.widths:
        layers.append(nn.Linear(width, hidden))
        if mlp.norm == "batch":
            layers.append(nn.BatchNorm1d(hidden))
        layers.append(_ACTIVATIONS[mlp.activation]())
        if mlp.dropout:
            layers.append(nn.Dropout(mlp.dropout))
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, N_CLASSES))


def _cnn(cnn: Cnn, image_size: int) -> nn.Module:
    layers: list[nn.Module] = []
    channels = 1
    for block_channels in cnn.block_channels:
        layers.append(_block(cnn, channels, block_channels))
        if cnn.dropout2d:
            layers.append(nn.Dropout2d(cnn.dropout2d))
        channels = block_channels
    layers.append(nn.Flatten())
    width = channels * cnn.feature_sizes(image_size)[-1] ** 2
    for hidden in cnn.head:
        if cnn.dropout:
            layers.append(nn.Dropout(cnn.dropout))
        layers += [nn.Linear(width, hidden), _ACTIVATIONS[cnn.activation]()]
        width = hidden
    if cnn.dropout:
        layers.append(nn.Dropout(cnn.dropout))
    return nn.Sequential(*layers, nn.Linear(width, N_CLASSES))


def _block(cnn: Cnn, in_channels: int, out_channels: int) -> nn.Module:
    layers: list[nn.Module] = []
    for i in range(cnn.convs_per_block):
        layers.append(
            nn.Conv2d(
                in_channels if i == 0 else out_channels,
                out_channels,
                cnn.kernel_size,
                padding=cnn.kernel_size // 2 if cnn.padding == "same" else 0,
                bias=cnn.norm == "none",  # batch norm's shift replaces it
            )
        )
        if cnn.norm == "batch":
            layers.append(nn.BatchNorm2d(out_channels))
        layers.append(_ACTIVATIONS[cnn.activation]())
    pool = nn.MaxPool2d(2) if cnn.pool == "max" else nn.AvgPool2d(2)
    if cnn.residual:
        return nn.Sequential(_Residual(nn.Sequential(*layers), nn.Conv2d(in_channels, out_channels, 1)), pool)
    if cnn.pool == "max" and cnn.activation in _MONOTONE:
        layers.insert(-1, pool)
    else:
        layers.append(pool)
    return nn.Sequential(*layers)


class _Residual(nn.Module):
    """Body of x plus a 1x1 convolution of x."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return torch.add(self.body(x_NCHW), self.shortcut(x_NCHW))
