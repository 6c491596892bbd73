"""A search in the manner of Optuna's PyTorch example: TPE, successive halving, a DataLoader; one trial at a time."""

from __future__ import annotations

import argparse

import optuna

from benchmarks.peers.common import SPACES, log, train


def main() -> None:
    """Search one of the spaces."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("space", "root", "split", "log"):
        parser.add_argument(name)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    arguments = parser.parse_args()

    def objective(trial: optuna.Trial) -> float:
        accuracy = 0.0
        config = SPACES[arguments.space](trial)
        for epoch, accuracy in enumerate(train(config, arguments.root, arguments.split), start=1):
            log(arguments.log, accuracy)
            trial.report(accuracy, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return accuracy

    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=arguments.seed),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
    )
    study.optimize(objective, timeout=arguments.seconds)


if __name__ == "__main__":
    main()
