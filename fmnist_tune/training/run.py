"""One training run: a generator of evaluations, after each of which its state can be saved."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fmnist_tune.models.layers import n_params
from fmnist_tune.seeds import derive_seed
from fmnist_tune.tasks.images.config import ImageConfig
from fmnist_tune.training import averaging
from fmnist_tune.training.averaging import WeightAverage
from fmnist_tune.training.checkpoint import Stateful
from fmnist_tune.training.loss import accuracy, criterion, plain_loss
from fmnist_tune.training.optimizers import build_optimizer, lr_factor
from fmnist_tune.training.order import batches_of, epoch_sampler
from fmnist_tune.training.partial_epoch import PartialEpoch
from fmnist_tune.training.precision import Precision, choose_precision, has_fast_bf16
from fmnist_tune.training.results import (
    SAMPLE_STRIDE,
    EpochResult,
    Evaluation,
    NonFiniteLossError,
    StopReason,
    best_epoch,
)
from fmnist_tune.training.step import TrainingStep
from fmnist_tune.training.tensors import TrainingData, pixels

# Images at a time without gradients. On a CPU a small batch's feature maps stay in the cache: a CNN 64-128-256 scored
# 2,606 images/s by hundreds and 1,852 by five hundreds, an MLP 341,000 and 385,000 (Zen 4, one thread, n = 3).
EVAL_BATCH_SIZE, CUDA_EVAL_BATCH_SIZE = 100, 5000
STEPS_BETWEEN_CHECKS = 64


class TrainingRun:
    """Trains one configuration with one seed.

    What it computes follows from the configuration, the data and the seed alone: every epoch seeds PyTorch's global
    generator anew, so that a run that goes on from a saved state gives what an undisturbed one would have given.
    """

    def __init__(
        self,
        config: ImageConfig,
        data: TrainingData,
        *,
        seed: int,
        device: str = "cpu",
        precision: Precision | None = None,
        n_epochs: int | None = None,
        graphed: bool = True,
    ) -> None:
        """Build the model and its optimizer.

        Args:
            config: what to train.
            data: on `device`.
            seed: of initialisation, batch order, dropout and augmentation.
            device: "cpu" or a CUDA device.
            precision: number format and memory layout; None for the fastest on this machine.
            n_epochs: stop after so many, on the schedule of all that are configured; None for all.
            graphed: launch steps as one CUDA graph where that can be done; it changes nothing but the time.
        """
        self.config = config
        self.data = data
        self.seed = seed
        self.device = device
        self.precision = precision or choose_precision(config, fast_bf16=has_fast_bf16(device))
        torch.manual_seed(derive_seed(seed, "init"))
        self.model = config.build().to(device)
        if self.precision.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = build_optimizer(trained, config.training.optimizer)
        self.average = WeightAverage(self.model) if config.training.average_weights else None
        self.n_params = n_params(self.model)
        self.history: list[EpochResult] = []
        self.partial = PartialEpoch(device)
        self.n_epochs = config.training.epochs if n_epochs is None else n_epochs
        self.position = (1, 0, 0)  # the epoch that is trained, steps taken of it, steps that it has
        self.criterion = criterion(config, data.y_train)
        self.draw_order = epoch_sampler(config, data.y_train)
        self.train_batch = TrainingStep(
            config, data, self.model, self.optimizer, self.criterion, self.precision, device=device, graphed=graphed
        )

    @property
    def metadata(self) -> dict[str, Any]:
        """What to record of a run besides its results."""
        return {"params": self.n_params, "numerics": str(self.precision)}

    @property
    def parts(self) -> dict[str, Stateful]:
        """What changes from epoch to epoch, besides the history."""
        parts: dict[str, Stateful] = {"model": self.model, "optimizer": self.optimizer, "partial": self.partial}
        return parts if self.average is None else parts | {"average": self.average}

    @property
    def has_begun(self) -> bool:
        """Whether any step has been trained and not forgotten."""
        return bool(self.history or self.partial.losses)

    @property
    def scored_model(self) -> nn.Module:
        """The model whose accuracy counts, and whose weights are kept: the trained one, or its running average."""
        return self.model if self.average is None else self.average.scored(self.model)

    @property
    def stop_reason(self) -> StopReason | None:
        """Why there is nothing left to train; None while there is."""
        if len(self.history) >= self.n_epochs:
            return "epochs"
        patience = self.config.training.early_stopping
        if patience is not None and self.history and len(self.history) - best_epoch(self.history) >= patience:
            return "early_stopping"
        return None

    def epochs(self) -> Iterator[EpochResult]:
        """Train epoch by epoch until the configured number is reached or early stopping ends it.

        Raises:
            NonFiniteLossError: the loss is no longer a finite number.
        """
        yield from (result for result in self.progress() if isinstance(result, EpochResult))

    def progress(self, partial: Sequence[float] = ()) -> Iterator[Evaluation]:
        """Do as `epochs`, and evaluate on a sample of the validation images within the first epoch.

        That changes nothing of what is trained, nor does going on from a state that was saved there.

        Args:
            partial: after which shares of the first epoch; those behind a state taken over are left out.
        """
        while self.stop_reason is None:
            epoch = len(self.history) + 1
            torch.manual_seed(derive_seed(self.seed, "epoch", epoch))
            self.history.append((yield from self._train_epoch(epoch, partial if epoch == 1 else ())))
            yield self.history[-1]

    def evaluate(self, x_N1HW: Tensor, y_N: Tensor) -> tuple[float, float]:
        """Return mean loss (without label smoothing or weights) and accuracy; nan without images."""
        if len(y_N) == 0:
            return math.nan, math.nan
        logits_NK = self.predict(x_N1HW)
        return plain_loss(self.config, logits_NK, y_N), accuracy(logits_NK, y_N)

    def predict(self, x_N1HW: Tensor, *, bf16: bool | None = None) -> Tensor:
        """Return float32 scores (N, 10); computed in bf16 where the training is, unless told otherwise."""
        model = self.scored_model.eval()
        batch_size = CUDA_EVAL_BATCH_SIZE if self.device.startswith("cuda") else EVAL_BATCH_SIZE
        precision = self.precision if bf16 is None else replace(self.precision, bf16=bf16)
        with torch.inference_mode(), precision.autocast(self.device):
            return torch.cat([model(x).float() for x in x_N1HW.split(batch_size)])

    def score(self, inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return float32 scores (N, K) of images, computed in float32: those of the weights that are kept."""
        return self.predict(pixels(inputs, self.config.data, self.device), bf16=False).cpu().numpy()

    def draw_batches(self) -> list[Tensor]:
        """Return the indices of an epoch's training images, batch by batch."""
        return batches_of(self.draw_order(), self.config.training.batch_size)

    def _train_epoch(self, epoch: int, shares: Sequence[float]) -> Generator[Evaluation, None, EpochResult]:
        """Train an epoch, or what is left of it, and validate it; what its steps gave is read at the end alone."""
        training, partial = self.config.training, self.partial
        start = time.perf_counter()
        batches = self.draw_batches()
        partial.restore_random()
        n_before = len(partial.losses)
        share_after = {max(1, round(share * len(batches))): share for share in shares}
        total_steps = training.epochs * len(batches)

        def lr_of(step: int) -> float:
            done = (epoch - 1) * len(batches) + step
            return training.optimizer.lr * lr_factor(training.schedule, done / total_steps)

        lr = lr_of(max(n_before - 1, 0))
        if n_before in share_after:  # whoever waited for this died before it was heard of
            yield self._evaluate_sample(share_after[n_before])
            start = time.perf_counter()
        self.model.train()
        self.position = (epoch, n_before, len(batches))
        for i, batch in enumerate(batches[n_before:], start=n_before):
            lr = lr_of(i)
            loss, scores = self.train_batch(batch, lr)
            self.position = (epoch, i + 1, len(batches))
            partial.losses.append(loss)
            partial.scores.append(scores)
            if self.average is not None and (i % averaging.EVERY == averaging.EVERY - 1 or batch is batches[-1]):
                self.average.update_parameters(self.model)
            if i + 1 in share_after:
                loss.item()  # a GPU is done with what it has been given
                partial.train_s += time.perf_counter() - start
                yield self._evaluate_sample(share_after[i + 1])
                self.model.train()
                start = time.perf_counter()
            if i % STEPS_BETWEEN_CHECKS == STEPS_BETWEEN_CHECKS - 1 and not math.isfinite(loss.item()):
                break
        losses = partial.losses
        if not math.isfinite(losses[-1].item()):
            raise NonFiniteLossError(f"loss is {losses[-1].item()} in epoch {epoch}, step {len(losses)} (lr {lr:.3g})")
        sizes = torch.tensor([len(b) for b in batches], device=self.device)
        n_images = int(sizes.sum())
        mean_loss = (torch.stack(losses) * sizes).sum().item() / n_images
        train_accuracy = accuracy(torch.cat(partial.scores), self.data.y_train[torch.cat(batches)])
        trained = time.perf_counter()
        train_s, look_s = partial.train_s + trained - start, partial.look_s
        partial.clear()
        val_loss, val_accuracy = self.evaluate(self.data.x_val, self.data.y_val)
        val_s = look_s + time.perf_counter() - trained
        return EpochResult(
            epoch=epoch,
            train_loss=mean_loss,
            train_accuracy=train_accuracy,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            lr=lr,
            train_s=train_s,
            val_s=val_s,
            n_images=n_images,
        )

    def _evaluate_sample(self, share: float) -> Evaluation:
        """Score a sample of the validation images."""
        start = time.perf_counter()
        _, val_accuracy = self.evaluate(self.data.x_val[::SAMPLE_STRIDE], self.data.y_val[::SAMPLE_STRIDE])
        self.partial.look_s += time.perf_counter() - start
        return Evaluation(
            epoch=share, val_accuracy=val_accuracy, train_s=self.partial.train_s, val_s=self.partial.look_s
        )
