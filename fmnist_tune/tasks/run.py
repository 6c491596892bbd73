"""A training run, epoch by epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from fmnist_tune.seeds import derive_seed
from fmnist_tune.training.results import EpochResult, Evaluation, NonFiniteLossError, StopReason

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn
    from torch.optim import Optimizer

    from fmnist_tune.training.checkpoint import Stateful


class Run(Protocol):
    """A worker's interface to a training; its next steps depend on `parts` and `history` alone."""

    seed: int
    device: str
    history: list[EpochResult]
    position: tuple[int, int, int]  # the epoch under way, steps taken in it, steps in total

    @property
    def parts(self) -> dict[str, Stateful]:
        """The model, its optimizer, and all other state that changes with the steps."""

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata to record besides the results: `params` and `numerics` at least."""

    @property
    def has_begun(self) -> bool:
        """Whether it contains any trained step."""

    @property
    def scored_model(self) -> nn.Module:
        """The model that is evaluated and whose weights are saved."""

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the training is over; None while it is not."""

    def progress(self, partial: Sequence[float] = ()) -> Iterator[Evaluation]:
        """Train to the end; yield the evaluation of each epoch, and those at the `partial` shares of the first one.

        Raises:
            NonFiniteLossError: the loss is no longer a finite number.
        """

    def score(self, inputs: Any) -> NDArray[np.float32]:
        """Return float32 scores (N, K) of the test set's inputs, from the weights that are saved."""


class EpochRun:
    """A training of one model by one optimizer: subclass it, and implement `train` and `evaluate`.

    Its results must depend only on configuration, data and seed. PyTorch's generator is reseeded for every epoch, so a
    run resumed from a checkpoint gives the same results as an uninterrupted one.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, *, seed: int, device: str, n_epochs: int) -> None:
        """Prepare a run; seed the generator with `derive_seed(seed, "init")` before building the model."""
        self.model = model
        self.optimizer = optimizer
        self.seed = seed
        self.device = device
        self.n_epochs = n_epochs
        self.history: list[EpochResult] = []
        self.position = (1, 0, 0)

    def train(self, epoch: int) -> tuple[float, float, int]:
        """Train an epoch; return its loss, its figure on the same scale as `evaluate`, and its number of examples.

        A non-finite loss ends the trial.
        """
        raise NotImplementedError

    def evaluate(self) -> tuple[float, float]:
        """Return loss and figure on the validation data; a higher figure is better."""
        raise NotImplementedError

    @property
    def parts(self) -> dict[str, Stateful]:
        return {"model": self.model, "optimizer": self.optimizer}

    @property
    def metadata(self) -> dict[str, Any]:
        n_params = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        return {"params": n_params, "numerics": "float32"}

    @property
    def has_begun(self) -> bool:
        return bool(self.history)

    @property
    def scored_model(self) -> nn.Module:
        return self.model

    @property
    def stop_reason(self) -> StopReason | None:
        return "epochs" if len(self.history) >= self.n_epochs else None

    def progress(self, partial: Sequence[float] = ()) -> Iterator[EpochResult]:
        """Train epoch by epoch, without evaluations within the first one."""
        import torch

        while self.stop_reason is None:
            epoch = len(self.history) + 1
            torch.manual_seed(derive_seed(self.seed, "epoch", epoch))
            start = time.perf_counter()
            self.model.train()
            train_loss, train_accuracy, n_examples = self.train(epoch)
            if not math.isfinite(train_loss):
                raise NonFiniteLossError(f"loss is {train_loss} in epoch {epoch}")
            trained = time.perf_counter()
            self.model.eval()
            with torch.inference_mode():
                val_loss, val_accuracy = self.evaluate()
            self.history.append(
                EpochResult(
                    epoch=epoch,
                    train_loss=train_loss,
                    train_accuracy=train_accuracy,
                    val_loss=val_loss,
                    val_accuracy=val_accuracy,
                    lr=self.optimizer.param_groups[0]["lr"],
                    train_s=trained - start,
                    val_s=time.perf_counter() - trained,
                    n_images=n_examples,
                )
            )
            yield self.history[-1]

    def score(self, inputs: Any) -> NDArray[np.float32]:
        """Raise an error: a task with a test set overrides this method."""
        raise NotImplementedError
