"""Which trials stop early: asynchronous successive halving (Li et al. 2020, arXiv 1810.05934), its stopping variant."""

from __future__ import annotations

from collections.abc import Mapping

from fmnist_tune.config.schema import Pruner


class Asha:
    """Rungs at min_epochs * reduction_factor**k epochs; of those that reach one, the best 1 in reduction_factor go on.

    It is rebuilt from the curves of a study's trials, and keeps no state that they do not have.
    """

    def __init__(self, pruner: Pruner, curves: Mapping[int, Mapping[int, float]]) -> None:
        """Take over what trials have reported so far.

        Args:
            pruner: its settings.
            curves: validation accuracy by epoch, by trial number.
        """
        self._pruner = pruner
        self._curves = {number: dict(curve) for number, curve in curves.items()}

    def is_rung(self, epoch: int) -> bool:
        """Tell whether trials are compared after this epoch."""
        rung = self._pruner.min_epochs
        while rung < epoch:
            rung *= self._pruner.reduction_factor
        return self._pruner.name == "asha" and rung == epoch

    def report(self, number: int, epoch: int, value: float) -> str | None:
        """Take in a trial's validation accuracy after an epoch.

        Returns:
            Why the trial should stop; None if it should go on. Trials that are equal go on together, and so does the
            first to reach a rung.
        """
        self._curves.setdefault(number, {})[epoch] = value
        if not self.is_rung(epoch):
            return None
        at_rung = sorted((curve[epoch] for curve in self._curves.values() if epoch in curve), reverse=True)
        needed = at_rung[max(1, len(at_rung) // self._pruner.reduction_factor) - 1]
        if value >= needed:
            return None
        share = f"best 1/{self._pruner.reduction_factor} of {len(at_rung)}"
        return f"asha: {value:.4f} after epoch {epoch} is below {needed:.4f} ({share})"
