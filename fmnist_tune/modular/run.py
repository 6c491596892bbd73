"""One training run on modular addition; an epoch is what lies between two evaluations."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fmnist_tune.config.modular import ModularConfig
from fmnist_tune.models.layers import n_params
from fmnist_tune.modular.data import Pairs, leak, split_pairs
from fmnist_tune.modular.outcome import SOLVED
from fmnist_tune.seeds import derive_seed
from fmnist_tune.training.checkpoint import Stateful
from fmnist_tune.training.loss import accuracy
from fmnist_tune.training.optimizers import build_optimizer
from fmnist_tune.training.results import EpochResult, StopReason
from fmnist_tune.training.run import NonFiniteLossError


class ModularRun:
    """Trains one configuration with one seed; what it computes follows from these alone."""

    def __init__(self, config: ModularConfig, *, seed: int, device: str = "cpu", n_epochs: int | None = None) -> None:
        """Build the model and its optimizer; `n_epochs`: stop after so many evaluations, None for all."""
        self.config = config
        self.seed = seed
        self.device = device
        train, val = split_pairs(config.data)
        self._leak = leak(train, val)
        self._train_xy, self._val_xy = self._tensors(train), self._tensors(val)
        torch.manual_seed(derive_seed(seed, "init"))
        self.model = config.build().to(device)
        self.optimizer = build_optimizer(self.model.parameters(), config.training.optimizer)
        self.history: list[EpochResult] = []
        self.n_epochs = config.training.epochs if n_epochs is None else n_epochs
        self.position = (1, 0, config.training.eval_every)  # the epoch that is trained, steps taken of it, and in all

    @property
    def facts(self) -> dict[str, Any]:
        """What to record of a run besides its results."""
        n_pairs = {"pairs_train": len(self._train_xy[1]), "pairs_val": len(self._val_xy[1])}
        return {"params": n_params(self.model), "numerics": "float32", **n_pairs, "leak": round(self._leak, 4)}

    @property
    def parts(self) -> dict[str, Stateful]:
        """What changes from epoch to epoch, besides the history."""
        return {"model": self.model, "optimizer": self.optimizer}

    @property
    def scored_model(self) -> nn.Module:
        """The model whose accuracy counts, and whose weights are kept."""
        return self.model

    @property
    def stop_reason(self) -> StopReason | None:
        """Why there is nothing left to train; None while there is."""
        if self.config.training.stop_when_solved and self.history and self.history[-1].val_accuracy >= SOLVED:
            return "solved"
        return "epochs" if len(self.history) >= self.n_epochs else None

    def epochs(self) -> Iterator[EpochResult]:
        """Train from evaluation to evaluation.

        Raises:
            NonFiniteLossError: the loss is no longer a finite number.
        """
        while self.stop_reason is None:
            epoch = len(self.history) + 1
            torch.manual_seed(derive_seed(self.seed, "epoch", epoch))
            start = time.perf_counter()
            n_pairs = self._train(epoch)
            trained = time.perf_counter()
            train_loss, train_accuracy = self.evaluate(*self._train_xy)
            val_loss, val_accuracy = self.evaluate(*self._val_xy)
            result = EpochResult(
                epoch=epoch,
                train_loss=train_loss,
                train_accuracy=train_accuracy,
                val_loss=val_loss,
                val_accuracy=val_accuracy,
                lr=self.config.training.optimizer.lr,
                train_s=trained - start,
                val_s=time.perf_counter() - trained,
                n_images=n_pairs,
            )
            self.history.append(result)
            yield self.history[-1]

    def progress(self, partial: Sequence[float] = ()) -> Iterator[EpochResult]:
        """Do as `epochs`: what lies between two evaluations is too short to look into."""
        return self.epochs()

    def evaluate(self, x_N2: Tensor, y_N: Tensor) -> tuple[float, float]:
        """Return mean loss and accuracy."""
        self.model.eval()
        with torch.inference_mode():
            scores_NP = self.model(x_N2)
            return F.cross_entropy(scores_NP, y_N).item(), accuracy(scores_NP, y_N)

    def _train(self, epoch: int) -> int:
        """Take `eval_every` steps; returns the pairs trained on."""
        x_N2, y_N = self._train_xy
        loss = torch.tensor(math.nan)
        n_pairs = 0
        self.model.train()
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
        return n_pairs

    def _tensors(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(pairs.x_N2).to(self.device), torch.from_numpy(pairs.y_N).to(self.device)

    def draw_batches(self) -> Iterator[Tensor | slice]:
        """Yield the pairs of each step: all, or shuffled batches, shuffled again when they run out."""
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
