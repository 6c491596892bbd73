"""A search in the manner of Ray Tune's PyTorch guide: a function trainable, ASHA, OptunaSearch; a trial on each CPU."""

from __future__ import annotations

import argparse
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.peers.common import EPOCHS, SPACES, log, train


def main() -> None:
    """Search one of the spaces."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("space", "root", "split", "log"):
        parser.add_argument(name)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    arguments = parser.parse_args()

    def trainable(config: dict[str, Any]) -> None:
        for accuracy in train(config, arguments.root, arguments.split):
            log(arguments.log, accuracy)
            tune.report({"accuracy": accuracy})

    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            metric="accuracy",
            mode="max",
            search_alg=OptunaSearch(SPACES[arguments.space], metric="accuracy", mode="max", seed=arguments.seed),
            scheduler=ASHAScheduler(max_t=EPOCHS, grace_period=1, reduction_factor=3),
            num_samples=-1,
            time_budget_s=arguments.seconds,
        ),
    )
    tuner.fit()


if __name__ == "__main__":
    main()
