"""What the driver itself costs, against another checkout: `python -m benchmarks.driver --against CHECKOUT`.

Three measurements, each of both checkouts in turn:

- assignment: seconds in which the driver hands out a new trial and takes in its first report, in a study that has so
  many trials already (TPE, ASHA, SQLite); and of Optuna alone: TPE in memory and the trial's row.
- trial: seconds per trial of a whole search whose training takes next to no time (modular addition of 5 numbers, one
  step, one worker, random sampling), and of Ray Tune alone with an actor that does nothing.
- memory: of the driver's process while trials of 1,000 epochs report, late against early.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent.parent
TINY = """\
study: tiny
task: modular-addition
search: {{trials: {trials}, sampler: {{name: random}}, pruner: {{name: none}}}}
model: {{name: embedding_mlp, embedding: 2, hidden: [2]}}
training:
  steps: {steps}
  eval_every: 1
  stop_when_solved: false
  optimizer: {{name: adamw, lr: {{float: [1e-6, 1e-5], log: true}}}}
data: {{modulus: 5}}
"""
# Run with either checkout first on the path: what it uses is in both, but for the fields of a report.
ASSIGNMENT = """\
import dataclasses, inspect, json, statistics, sys, tempfile, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import optuna
from fmnist_tune.config import read_space
from fmnist_tune.search.driver import Driver
from fmnist_tune.search.messages import TrialReport
from fmnist_tune.study.database import database_url, open_database
from fmnist_tune.study.layout import StudyPaths
from fmnist_tune.study.record import StudyRecord
from fmnist_tune.study.sampling import distribution
from fmnist_tune.training.results import EpochResult

n, repeats = int(sys.argv[1]), int(sys.argv[2])
optuna.logging.set_verbosity(optuna.logging.WARNING)
text = '''
study: s
search: {trials: 1000000, sampler: {name: tpe}, pruner: {name: asha}}
model: {name: mlp, depth: {int: [1, 3]}, width: {choice: [64, 128, 256]}, dropout: {float: [0.0, 0.5]},
        activation: {choice: [relu, gelu]}}
training:
  epochs: 10
  batch_size: {choice: [64, 128, 256]}
  optimizer: {name: adamw, lr: {float: [1e-4, 1e-1], log: true}, weight_decay: {float: [1e-4, 1e-1], log: true}}
'''
ATTRIBUTES = {"params": 60000, "seed": 1, "epochs": 10, "duration_s": 220.0, "images_per_s": 2500.0,
              "numerics": "float32", "ran_on": "x86_64 CPU, 1 thread, somewhere, process 1", "stop_reason": "epochs"}


def result(epoch, accuracy):
    return EpochResult(
        epoch=epoch,
        train_loss=0.5,
        train_accuracy=accuracy,
        val_loss=0.5,
        val_accuracy=accuracy,
        lr=0.01,
        train_s=1.0,
        val_s=0.1,
        n_images=500,
    )


def report(number, epoch, accuracy):
    new = (result(epoch, accuracy),)
    names = {f.name for f in dataclasses.fields(TrialReport)}
    known = {"evaluations" if "evaluations" in names else "epochs": new}
    known |= {"history": new} if "history" in names else {"n_epochs": epoch}
    known["metadata" if "metadata" in names else "facts"] = {k: ATTRIBUTES[k] for k in ("params", "ran_on")}
    return TrialReport(number=number, stop_reason=None, failure=None, spent_s=1.1, **known)


with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    space = read_space(text, "s.yaml")
    storage = open_database(database_url(folder), create=True)
    record = StudyRecord.open(storage, space, StudyPaths(folder, "s"))
    memory = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    domains = {p.path: distribution(p) for p in space.parameters}
    trials = []
    for number in range(n):
        drawn = memory.ask(domains)
        last = 1 if number % 3 else 3 if number % 9 else 10
        curve = {e: 0.5 + e / 40 + number * 7919 % 1000 / 10000 for e in range(1, last + 1)}
        state = optuna.trial.TrialState.COMPLETE if last == 10 else optuna.trial.TrialState.PRUNED
        history = [vars(result(e, v)) for e, v in curve.items()]
        trials.append(optuna.create_trial(state=state, value=curve[last], params=drawn.params,
                      distributions=drawn.distributions, user_attrs=ATTRIBUTES, system_attrs={"history": history},
                      intermediate_values=curve))
    record.optuna.add_trials(trials)
    curves = ThreadPoolExecutor(1)  # as a search has it, where the driver knows of it
    known = {"executor": curves} if "executor" in inspect.signature(Driver).parameters else {}
    start = time.perf_counter()
    driver = Driver(StudyRecord.open(storage, space, StudyPaths(folder, "s")), deadline=None, n_threads=1,
                    on_event=lambda event: None, **known)
    opened_s = time.perf_counter() - start
    curves.submit(lambda: None).result()  # those of the trials above
    seconds = []
    for i in range(repeats + 3):
        start = time.perf_counter()
        assignment = driver.next_assignment()
        driver.on_report(report(assignment.number, int(assignment.n_epochs_known) + 1, 0.6 + i / 10000))
        seconds.append(time.perf_counter() - start)
    curves.shutdown()
    # What none can do without: TPE in memory, of at most 300 trials, and the trial's row with its parameters.
    tpe = optuna.samplers.TPESampler(multivariate=True, group=True)
    memory = optuna.create_study(sampler=tpe, direction="maximize")
    memory.add_trials(trials[-300:])
    study_id, alone = storage.get_study_id_from_name("s"), []
    for i in range(repeats + 3):
        start = time.perf_counter()
        memory.ask(domains)
        storage.create_new_trial(study_id, template_trial=memory.get_trials(deepcopy=False)[-1])
        alone.append(time.perf_counter() - start)
    print(json.dumps({"assignment_s": statistics.median(seconds[3:]), "open_s": opened_s,
                      "optuna_s": statistics.median(alone[3:])}))
"""
TUNE_ALONE = """\
import json, sys, tempfile, time
import ray
from ray import tune

n = int(sys.argv[1])


class Nothing(tune.Trainable):
    def step(self):
        return {"done": True}

    def reset_config(self, new_config):
        return True


ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
ended = []


class Ends(tune.Callback):
    def on_trial_complete(self, iteration, trials, trial, **info):
        ended.append(time.monotonic())


with tempfile.TemporaryDirectory() as folder:
    tune.Tuner(
        tune.with_resources(Nothing, {"CPU": 1}), param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(num_samples=n, max_concurrent_trials=1, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[Ends()],
                                  checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False)),
    ).fit()
print("RESULT", json.dumps((ended[-1] - ended[n // 5]) / (n - 1 - n // 5)))
"""


def run(checkout: Path, code: str, *words: object) -> Any:
    """Return the JSON that a program prints at last, run with a checkout's package."""
    command = [sys.executable, "-c", code, *map(str, words)]
    environment = _environment(checkout)  # the current folder comes before it on the path
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{checkout}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1].removeprefix("RESULT "))


def search(checkout: Path, folder: Path, *, trials: int, steps: int) -> tuple[list[float], list[int]]:
    """Run a whole search; returns when each trial ended, in seconds, and its memory twice a second, in bytes."""
    (folder / "tiny.yaml").write_text(TINY.format(trials=trials, steps=steps))
    command = [sys.executable, "-m", "fmnist_tune.cli", "search", "tiny.yaml", "--workers", "1", "--json"]
    memory = []
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=_environment(checkout), stdout=log, stderr=log)
        while process.poll() is None:
            time.sleep(0.5)
            status = Path(f"/proc/{process.pid}/status").read_text() if process.poll() is None else ""
            memory += [1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")]
    if process.returncode:
        sys.exit(f"{checkout}: {(folder / 'log').read_text()[-2000:]}")
    import optuna

    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{folder}/studies/studies.db")
    ended = sorted(t.datetime_complete.timestamp() for t in study.trials if t.datetime_complete is not None)
    return ended, memory


def _environment(checkout: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(checkout.absolute())}


def main() -> None:
    """Measure both checkouts and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, required=True, metavar="CHECKOUT", help="of the older version")
    parser.add_argument("--sizes", type=int, nargs="+", default=[30, 1_000, 10_000], metavar="N")
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement, old and new in turn (3)")
    parser.add_argument("--trials", type=int, default=300, help="of a search without training (300)")
    arguments = parser.parse_args()
    checkouts = {"old": arguments.against, "new": HERE}

    def compare(what: str, unit: str, values: dict[str, list[float]]) -> None:
        medians = {name: statistics.median(v) for name, v in values.items()}
        shown = ", ".join(f"{n} {medians[n]:.4g} ({min(v):.4g} to {max(v):.4g})" for n, v in values.items())
        print(f"{what}: {shown} {unit}; new / old {medians['new'] / medians['old']:.3f}", flush=True)

    for size in arguments.sizes:
        found: dict[str, dict[str, list[float]]] = {"assignment_s": {}, "open_s": {}, "optuna_s": {}}
        for _ in range(arguments.repeats):
            for name, checkout in checkouts.items():
                for key, value in run(checkout, ASSIGNMENT, size, 5 if size > 5000 else 25).items():
                    found[key].setdefault(name, []).append(value)
        compare(f"assignment, {size:,} trials", "s", found["assignment_s"])
        compare(f"opening, {size:,} trials", "s", found["open_s"])
        alone = statistics.median(found["optuna_s"]["new"])
        print(f"of an assignment, Optuna's TPE and its row of the trial alone: {alone:.4g} s", flush=True)
    per_trial: dict[str, list[float]] = {}
    growth: dict[str, list[float]] = {}
    tune_alone = []
    for _ in range(arguments.repeats):
        for name, checkout in checkouts.items():
            with tempfile.TemporaryDirectory() as folder:
                ended, _ = search(checkout, Path(folder), trials=arguments.trials, steps=1)
            skipped = len(ended) // 5
            per_trial.setdefault(name, []).append((ended[-1] - ended[skipped]) / (len(ended) - 1 - skipped))
        tune_alone.append(float(run(HERE, TUNE_ALONE, arguments.trials)))
    compare("trial without training", "s", per_trial)
    print(f"of which Ray Tune alone: {statistics.median(tune_alone):.4g} s", flush=True)
    for name, checkout in checkouts.items():
        with tempfile.TemporaryDirectory() as folder:
            _, memory = search(checkout, Path(folder), trials=3, steps=1_000)
        early, late = memory[len(memory) // 2], memory[-2]
        growth[name] = [(late - early) / 2**20]
        print(f"memory, {name}: {early / 2**20:.0f} MiB half-way, {late / 2**20:.0f} MiB at the end", flush=True)


if __name__ == "__main__":
    main()
