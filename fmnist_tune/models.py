"""The model factory: from a model section to a PyTorch module over pictures of shape (N, 1, H, W)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fmnist_tune.config.model import Cnn, Dense, Mlp, Torchvision
from fmnist_tune.config.schema import N_CLASSES

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "leaky_relu": lambda: nn.LeakyReLU(0.01, inplace=True),
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
# Nondecreasing, so they commute with taking a maximum: pooling first leaves them a quarter of the work.
_MONOTONE = ("relu", "leaky_relu", "tanh")


def build_model(model: Mlp | Cnn | Torchvision, image_size: int, *, pretrained: bool = True) -> nn.Module:
    """Build a model with PyTorch's default initialisation, drawn from the global generator.

    Args:
        model: its section of the configuration.
        image_size: height and width of the pictures in pixels.
        pretrained: read the weights that the section names; False if others are loaded anyway.

    Returns:
        Module from float (N, 1, H, W) to unnormalised scores (N, 10).

    Raises:
        ValueError: the pictures are too small for its blocks.
        UserError: the weights that it names are not there, or do not fit.
    """
    if isinstance(model, Mlp):
        return build_dense(model, image_size**2, N_CLASSES)
    net: nn.Module
    if isinstance(model, Torchvision):
        from fmnist_tune.backbone import Backbone  # here, since importing torchvision takes a second

        net = Backbone(model, pretrained=pretrained)
    else:
        net = _cnn(model, image_size)
    return _FlipTta(net) if model.tta == "flip" else net


def n_params(model: nn.Module) -> int:
    """Count trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def build_dense(dense: Dense, n_inputs: int, n_classes: int) -> nn.Module:
    """Build dense layers from float (N, ...) with so many inputs each to unnormalised scores (N, n_classes)."""
    layers: list[nn.Module] = [nn.Flatten()]
    width = n_inputs
    for hidden in dense.widths:
        layers.append(nn.Linear(width, hidden))
        if dense.norm == "batch":
            layers.append(nn.BatchNorm1d(hidden))
        layers.append(_ACTIVATIONS[dense.activation]())
        if dense.dropout:
            layers.append(nn.Dropout(dense.dropout))
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, n_classes))


def _cnn(cnn: Cnn, image_size: int) -> nn.Module:
    layers: list[nn.Module] = []
    channels = 1
    for block, block_channels in enumerate(cnn.block_channels, start=1):
        layers.append(_block(cnn, channels, block_channels, pooled=cnn.is_pooled(block)))
        if cnn.dropout2d:
            layers.append(nn.Dropout2d(cnn.dropout2d))
        channels = block_channels
    layers.append(nn.Flatten())
    width = channels * cnn.feature_sizes(image_size)[-1] ** 2
    dropout = cnn.dropout if cnn.feature_dropout is None else cnn.feature_dropout
    for hidden in cnn.head:
        if dropout:
            layers.append(nn.Dropout(dropout))
        layers += [nn.Linear(width, hidden), _ACTIVATIONS[cnn.activation]()]
        width, dropout = hidden, cnn.dropout
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(width, N_CLASSES))


def _block(cnn: Cnn, in_channels: int, out_channels: int, *, pooled: bool) -> nn.Module:
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
    if cnn.residual:
        layers = [_Residual(nn.Sequential(*layers), nn.Conv2d(in_channels, out_channels, 1))]
    if pooled:
        pool = nn.MaxPool2d(2) if cnn.pool == "max" else nn.AvgPool2d(2)
        pool_first = not cnn.residual and cnn.pool == "max" and cnn.activation in _MONOTONE
        layers.insert(len(layers) - pool_first, pool)
    return nn.Sequential(*layers)


class _FlipTta(nn.Module):
    """In evaluation mode the mean of what a network says of a picture and of its mirror image."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x_N1HW: Tensor) -> Tensor:
        scores_NK: Tensor = self.net(x_N1HW)
        return scores_NK if self.training else (scores_NK + self.net(x_N1HW.flip(3))) / 2


class _Residual(nn.Module):
    """Body of x plus a 1x1 convolution of x."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return torch.add(self.body(x_NCHW), self.shortcut(x_NCHW))
