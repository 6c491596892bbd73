"""What models are made of besides PyTorch's own modules."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "leaky_relu": lambda: nn.LeakyReLU(0.01, inplace=True),
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
# Nondecreasing, so they commute with taking a maximum: pooling first leaves them a quarter of the work.
MONOTONE = ("relu", "leaky_relu", "tanh")


def n_params(model: nn.Module) -> int:
    """Count trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def n_multiplications(model: nn.Module, x_NCHW: Tensor) -> int:
    """Count the multiplications of weights in the forward pass of one batch."""
    total = 0

    def count(module: nn.Module, inputs: object, out: object) -> None:
        nonlocal total
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.ndim > 1 and isinstance(out, Tensor):
            total += out.numel() // weight.shape[0] * weight.numel()

    hooks = [module.register_forward_hook(count) for module in model.modules()]
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several would wait for each other while trials are trained on the same cores
    try:
        with torch.inference_mode():
            model(x_NCHW)
    finally:
        torch.set_num_threads(n_threads)
        for hook in hooks:
            hook.remove()
    return total


class FlipTta(nn.Module):
    """In evaluation mode the mean of what a network says of an image and of its mirror image."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x_NCHW: Tensor) -> Tensor:
        scores_NK: Tensor = self.net(x_NCHW)
        return scores_NK if self.training else (scores_NK + self.net(x_NCHW.flip(3))) / 2


class Residual(nn.Module):
    """Body of x plus a 1x1 convolution of x."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return torch.add(self.body(x_NCHW), self.shortcut(x_NCHW))
