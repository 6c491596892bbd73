"""One training run on modular addition; an epoch lasts from one evaluation to the next."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fmnist_tune.seeds import derive_seed
from fmnist_tune.tasks.modular_addition.config import ModularConfig
from fmnist_tune.tasks.modular_addition.data import Pairs, leak, split_pairs
from fmnist_tune.tasks.modular_addition.outcome import SOLVED
from fmnist_tune.tasks.run import EpochRun
from fmnist_tune.training.loss import accuracy
from fmnist_tune.training.optimizers import build_optimizer
from fmnist_tune.training.results import NonFiniteLossError, StopReason


class ModularRun(EpochRun):
    """Trains one configuration with one seed; these two determine the result."""

    def __init__(self, config: ModularConfig, *, seed: int, device: str = "cpu", n_epochs: int | None = None) -> None:
        """Build the model and its optimizer; stop after `n_epochs` evaluations, None for all."""
        self.config = config
        train, val = split_pairs(config.data)
        self._leak = leak(train, val)
        torch.manual_seed(derive_seed(seed, "init"))
        model = config.build().to(device)
        optimizer = build_optimizer(model.parameters(), config.training.optimizer)
        n_epochs = config.training.epochs if n_epochs is None else n_epochs
        super().__init__(model, optimizer, seed=seed, device=device, n_epochs=n_epochs)
        self._train_xy, self._val_xy = self._tensors(train), self._tensors(val)
        self.position = (1, 0, config.training.eval_every)

    @property
    def metadata(self) -> dict[str, Any]:
        n_pairs = {"pairs_train": len(self._train_xy[1]), "pairs_val": len(self._val_xy[1])}
        return {**super().metadata, **n_pairs, "leak": round(self._leak, 4)}

    @property
    def stop_reason(self) -> StopReason | None:
        if self.config.training.stop_when_solved and self.history and self.history[-1].val_accuracy >= SOLVED:
            return "solved"
        return super().stop_reason

    def train(self, epoch: int) -> tuple[float, float, int]:
        """Take `eval_every` steps, and evaluate on the training pairs."""
        x_N2, y_N = self._train_xy
        loss = torch.tensor(math.nan)
        n_pairs = 0
        for step, batch in enumerate(self.draw_batches()):
            self.position = (epoch, step, self.config.training.eval_every)
            loss = F.cross_entropy(self.model(x_N2[batch]), y_N[batch])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            n_pairs += len(y_N[batch])
        if not math.isfinite(loss.item()):
            step = epoch * self.config.training.eval_every
            raise NonFiniteLossError(f"loss is {loss.item()} before step {step}")
        return *self.scored(x_N2, y_N), n_pairs

    def evaluate(self) -> tuple[float, float]:
        return self.scored(*self._val_xy)

    def scored(self, x_N2: Tensor, y_N: Tensor) -> tuple[float, float]:
        """Return mean loss and accuracy."""
        self.model.eval()
        with torch.inference_mode():
            scores_NP = self.model(x_N2)
            return F.cross_entropy(scores_NP, y_N).item(), accuracy(scores_NP, y_N)

    def _tensors(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(pairs.x_N2).to(self.device), torch.from_numpy(pairs.y_N).to(self.device)

    def draw_batches(self) -> Iterator[Tensor | slice]:
        """Yield the pairs of each step: all, or shuffled batches, reshuffled when they run out."""
        training, n = self.config.training, len(self._train_xy[1])
        if training.batch_size is None:
            yield from [slice(None)] * training.eval_every
            return
        batches: Iterator[Tensor] = iter(())
        for _ in range(training.eval_every):
            batch = next(batches, None)
            if batch is None:
                order = torch.randperm(n, device=self.device)
                batches = iter(order.split(training.batch_size))
                batch = next(batches)
            yield batch
