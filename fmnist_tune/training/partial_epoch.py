"""A partially trained epoch: saved at evaluations within it, so that a trial can resume from there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class PartialEpoch:
    """The results of an epoch's steps so far.

    Attributes:
        losses: of each step.
        scores: (N, K) of each step, or of several.
        train_s, look_s: seconds in steps, and in evaluations.
    """

    losses: list[Tensor]
    scores: list[Tensor]
    train_s: float
    look_s: float

    def __init__(self, device: str) -> None:
        """Start without steps."""
        self._device = device
        self.clear()

    def clear(self) -> None:
        """Forget the steps: the epoch has ended."""
        self.losses, self.scores, self.train_s, self.look_s = [], [], 0.0, 0.0
        self._random: list[Tensor] = []

    def restore_random(self) -> None:
        """Restore PyTorch's generators from the loaded state."""
        if self._random:
            torch.set_rng_state(self._random[0].cpu())
            for state in self._random[1:]:
                torch.cuda.set_rng_state(state.cpu(), self._device)

    def state_dict(self) -> dict[str, Any]:
        """Return the steps and the state of PyTorch's generators; empty without steps."""
        if not self.losses:
            return {}
        random = [torch.get_rng_state()]
        if self._device.startswith("cuda"):
            random.append(torch.cuda.get_rng_state(self._device))
        losses, scores = torch.stack(self.losses), torch.cat(self.scores)
        return {"losses": losses, "scores": scores, "train_s": self.train_s, "look_s": self.look_s, "random": random}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned.

        Raises:
            ValueError: it was saved on another kind of device, whose generators draw different batches.
        """
        if state and len(state["random"]) != 1 + self._device.startswith("cuda"):
            raise ValueError(f"saved within an epoch on another kind of device than {self._device}")
        self.clear()
        if state:
            self.losses, self.scores = list(state["losses"]), [state["scores"]]
            self.train_s, self.look_s, self._random = state["train_s"], state["look_s"], state["random"]
