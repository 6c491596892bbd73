"""What a study costs as it grows: ask and tell, checkpoints, a resume: `python -m benchmarks.scaling`."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import optuna

from fmnist_tune.config import SearchSpace, load_space
from fmnist_tune.search.driver import Driver
from fmnist_tune.study.database import database_url, open_database
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.sampling import params_of
from fmnist_tune.study.trial_data import METADATA_KEY, PROGRESS_PREFIX
from fmnist_tune.tasks.images import ImageConfig
from fmnist_tune.training.results import EpochResult

ATTRIBUTES = {  # as real trials have them
    "params": 60_000,
    "seed": 1,
    "epochs": 10,
    "duration_s": 220.0,
    "images_per_s": 2500.0,
    "numerics": "float32 channels_last",
    "ran_on": "x86_64 CPU, 1 thread, somewhere, process 1",
    "looks": {"0.33": 0.8},
    "stop_reason": "asha: 82.15 % at epoch 0.33, rank 1/3; the best one was promoted",
}
SPACE = Path(__file__).parent.parent / "search_spaces" / "cnn.yaml"


def fill(folder: Path, space: SearchSpace, n: int) -> None:
    """Put `n` finished random trials with curves into a study."""
    storage = open_database(database_url(folder), create=True)
    record = StudyRecord.open(storage, space, StudyPaths(folder, space.settings.study))
    memory = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(0))
    trials = []
    for number in range(n):
        drawn = memory.ask(params_of(_first_values(space), space)[1])
        epochs = 1 if number % 3 else 3 if number % 9 else 10
        curve = {
            epoch: 0.5 + epoch / 40 + 0.1 * (hash((number, epoch)) % 1000) / 1000 for epoch in range(1, epochs + 1)
        }
        state = optuna.trial.TrialState.COMPLETE if epochs == 10 else optuna.trial.TrialState.PRUNED
        history = [
            asdict(
                EpochResult(
                    epoch=e,
                    train_loss=0.5,
                    train_accuracy=value,
                    val_loss=0.5,
                    val_accuracy=value,
                    lr=1e-3,
                    train_s=20.0,
                    val_s=2.0,
                    n_images=50_000,
                )
            )
            for e, value in curve.items()
        ]
        trials.append(
            optuna.create_trial(
                state=state,
                value=curve[epochs],
                params=drawn.params,
                distributions=drawn.distributions,
                user_attrs={METADATA_KEY: ATTRIBUTES},
                system_attrs={f"{PROGRESS_PREFIX}0": {"epochs": history, "facts": ATTRIBUTES}},
                intermediate_values=curve,
            )
        )
    record.optuna.add_trials(trials)


def _first_values(space: SearchSpace) -> dict[str, object]:
    return {p.path: p.domain.ends()[0] for p in space.parameters}


def ask_and_tell(space: SearchSpace, n: int, repeats: int) -> tuple[float, float, float]:
    """Return the seconds to open a study of `n` trials as a resume does, once, and medians of ask and of tell."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder, space, n)
        start = time.perf_counter()
        storage = open_database(database_url(folder), create=True)
        record = StudyRecord.open(storage, space, StudyPaths(folder, space.settings.study))
        driver = Driver(record, deadline=None, n_threads=1, on_event=lambda event: None)
        first = driver.next_assignment()
        opened = time.perf_counter() - start
        assert first is not None
        driver.writer.complete(first.number, 0.5)
        asks, tells = [], []
        for i in range(repeats):
            start = time.perf_counter()
            spec = driver.writer.begin()
            asks.append(time.perf_counter() - start)
            assert spec is not None
            driver.writer.report(spec.number, 1, 0.5 + i / 1000)
            start = time.perf_counter()
            driver.writer.prune(spec.number, "asha")
            tells.append(time.perf_counter() - start)
        return opened, statistics.median(asks), statistics.median(tells)


def checkpoint_share(folder: Path) -> str:
    """Return what saving a checkpoint costs against an epoch of `cnn.yaml`'s smallest and largest models."""
    import torch

    from fmnist_tune.training.checkpoint import save_checkpoint
    from fmnist_tune.training.run import TrainingRun
    from fmnist_tune.training.tensors import TrainingData

    torch.set_num_threads(1)
    parts = []
    for model in (
        {"name": "cnn", "blocks": 2, "base_channels": 16},
        {"name": "cnn", "blocks": 3, "base_channels": 32, "head": [256]},
    ):
        training = {"batch_size": 256, "average_weights": True}
        config = ImageConfig.model_validate({"model": model, "training": training})
        n = 5120  # a tenth of the training split
        data = TrainingData(
            torch.randn(n, 1, 28, 28),
            torch.randint(10, (n,)),
            torch.randn(1000, 1, 28, 28),
            torch.randint(10, (1000,)),
            0.0,
        )
        run = TrainingRun(config, data, seed=0)
        results = run.epochs()
        next(results)
        epoch_s = (
            50_000 / n * statistics.median(r.train_s + r.val_s for r in (next(results), next(results), next(results)))
        )
        times = []
        for _ in range(20):
            start = time.perf_counter()
            save_checkpoint(run, folder / "checkpoint.pt")
            times.append(time.perf_counter() - start)
        save_ms = statistics.median(times) * 1e3
        share = save_ms / 1e3 / epoch_s
        parts.append(f"{run.n_params:,} parameters: {save_ms:.0f} ms, {share:.2%} of an epoch of {epoch_s:.0f} s")
    return "\n".join(parts)


def main() -> None:
    """Print the table and draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000, 10_000])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--plot", type=Path, help="write a PNG")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print("checkpoints:\n" + checkpoint_share(Path(name)), flush=True)
    space = load_space(SPACE, {"search.trials": 1_000_000})
    rows = []
    for n in arguments.sizes:
        opened, ask, tell = ask_and_tell(space, n, arguments.repeats)
        rows.append((n, ask * 1e3, tell * 1e3))
        print(
            f"{n:>6} trials: open and first ask {opened:.2f} s, ask {ask * 1e3:.0f} ms, tell {tell * 1e3:.0f} ms",
            flush=True,
        )
    if arguments.plot is not None:
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
        axes.loglog([r[0] for r in rows], [r[1] for r in rows], "o-", label="ask (TPE)")
        axes.loglog([r[0] for r in rows], [r[2] for r in rows], "o-", label="tell")
        axes.set(xlabel="trials in the study", ylabel="milliseconds (median)", title="SQLite study, cnn.yaml")
        axes.legend()
        figure.savefig(arguments.plot, dpi=120)


if __name__ == "__main__":
    main()
