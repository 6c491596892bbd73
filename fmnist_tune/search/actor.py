"""A worker as Ray Tune's actor; by itself, so that a worker does not import what the driver needs."""

from __future__ import annotations

from typing import Any

from ray.tune import Trainable

from fmnist_tune.search.start import start_worker


class TrialActor(Trainable):  # type: ignore[misc]  # Ray's classes are untyped here
    """It lives through many trials."""

    def setup(self, config: dict[str, Any], data: Any, test_inputs: Any) -> None:
        """Start with the first assignment."""
        self._worker = start_worker(data, test_inputs)
        self._worker.assign(config["assignment"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next assignment."""
        self._worker.assign(new_config["assignment"])
        return True

    def step(self) -> dict[str, Any]:
        """Train to the next report."""
        return {"report": self._worker.step()}
