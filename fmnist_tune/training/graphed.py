"""A training step as one CUDA graph: launched one by one, its hundred kernels take longer to launch than to run."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP_STEPS = 3  # launched one by one, for the setup of cuDNN and the optimizer
Step = Callable[[Tensor], tuple[Tensor, Tensor]]


class GraphedSteps:
    """Takes the same steps as a function, with the same results; full batches run as a graph."""

    def __init__(self, step: Step, optimizer: torch.optim.Optimizer, batch_size: int, device: str) -> None:
        """Prepare without training.

        Args:
            step: trains on the images with the given indices, with the optimizer's learning rate; returns the loss and
                the scores, which depend only on its argument and the state that it changes in place.
            optimizer: its optimizer, fused.
            batch_size: of a full batch.
            device: a CUDA device.
        """
        self._step = step
        self._optimizer = optimizer
        self._batch = torch.zeros(batch_size, dtype=torch.int64, device=device)
        self._lr = torch.zeros((), device=device)
        self._n_warm_up = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: Tensor, lr: float) -> tuple[Tensor, Tensor]:
        """Take a step; return the function's result."""
        self._optimizer.param_groups[0]["lr"] = lr
        if len(batch) != len(self._batch) or self._n_warm_up < WARM_UP_STEPS:
            self._n_warm_up += 1
            return self._step(batch)
        if self._graph is None:
            self._graph = self._capture()
        self._batch.copy_(batch)
        self._lr.fill_(lr)
        self._graph.replay()
        loss, scores = self._results
        return loss.clone(), scores.clone()

    def _capture(self) -> torch.cuda.CUDAGraph:
        """Record a step without taking it; it reads the learning rate from the device, so the rate can change."""
        graph, (group,) = torch.cuda.CUDAGraph(), self._optimizer.param_groups
        as_saved = dict(group)
        group.update(lr=self._lr, capturable=True)
        with torch.cuda.graph(graph):
            self._results = self._step(self._batch)
        group.clear()
        group.update(as_saved)
        return graph
