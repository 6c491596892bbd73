"""Ray: starting or joining a cluster without output, what is imported meanwhile, and how many workers fit."""

from __future__ import annotations

import importlib
import logging
import os
import re
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmnist_tune.config.schema import Resources
from fmnist_tune.cpus import cpu_count
from fmnist_tune.errors import UserError
from fmnist_tune.search import session
from fmnist_tune.search.derived import leaves_first_evaluation
from fmnist_tune.search.signals import holding_back_ctrl_c
from fmnist_tune.search.worker_start import last_complaint

if TYPE_CHECKING:
    from fmnist_tune.config import SearchSpace

# Set before Ray is imported; what each one does is in docs/developer/architecture.md.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one ignores verbose=0
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_prestart_worker_first_driver": "0",  # Tune's actors cannot use prestarted workers, which only take their place
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_WARN_SLOW_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "1000000000",
}
CONNECT_TIMEOUT_S = 10.0
N_STARTS = 3
OBJECT_STORE_BYTES = 300 * 2**20  # the data set is 47 MB


@dataclass(frozen=True)
class WorkerPlan:
    """How a search uses the cluster.

    Attributes:
        n_workers: trials at a time.
        cpus, gpus: of each worker.
        logs: log folder of a Ray started here; None in a cluster that was joined.
    """

    n_workers: int
    cpus: int
    gpus: float
    logs: Path | None = None

    def __str__(self) -> str:
        each = f"{self.cpus} CPU{'s' if self.cpus > 1 else ''}" + (f" and {self.gpus:g} GPU" if self.gpus else "")
        return f"{self.n_workers} workers, each with {each}" if self.n_workers > 1 else f"1 worker with {each}"


def prepare_environment() -> None:
    """Set the variables that Ray reads on import, except those the user has set. May restart the program."""
    session.run_from_plain_path()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def import_libraries() -> None:
    """Import what a search needs, in a thread beside its checks and Ray's start."""
    from fmnist_tune.study.database import warm_up  # imports SQLAlchemy, which no worker needs

    for module in ("ray", "fmnist_tune.search.runner"):
        importlib.import_module(module)
    warm_up()


def import_torch(space: SearchSpace, *, has_timeout: bool) -> None:
    """Import what a configuration's expected cost needs, where something depends on it before any report."""
    is_needed = space.settings.search.pruner.chooses_values or (has_timeout and leaves_first_evaluation(space))
    if is_needed and (config := next(space.end_configs(), None)) is not None:
        config.relative_cost()


def start_ray(address: str | None) -> Path | None:
    """Start Ray on this machine, or join a cluster.

    Call it from the main thread: Linux ends Ray's processes together with the thread that started them.

    Returns:
        The log folder of a Ray started here; None in a cluster that was joined.

    Raises:
        UserError: there is no cluster at that address, or Ray cannot start here.
    """
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        with holding_back_ctrl_c():  # Ray installs a handler that exits with code 15
            if address is None:
                return _start_here(quiet)
            _join(address, quiet)
            return None
    except SystemExit:
        raise KeyboardInterrupt from None


def _start_here(quiet: dict[str, Any]) -> Path:
    import ray

    session.check_text()
    folder = session.find_folder()
    session.give_token()
    for _ in range(N_STARTS):
        try:
            context = ray.init(
                address="local",
                num_cpus=cpu_count(),
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                runtime_env={"py_executable": session.py_executable()},
                **quiet,
            )
            return Path(context.address_info["session_dir"]) / "logs"
        except Exception as error:  # Ray raises OSErrors and bare Exceptions
            logs = max((folder / "ray").glob(f"session_*_{os.getpid()}/logs"), default=None)
            why = (logs and last_complaint(logs)) or " ".join(str(error).split()) or type(error).__name__
            if "timed out" not in why.lower():  # Ray gives its processes 15 s, too little on a busy machine
                break
            ray.shutdown()
            why = f"{why} ({N_STARTS} times; the machine may have too much to do)"
    session.keep_folder()
    raise UserError(f"Ray cannot start on this machine: {why}" + (f"; its logs are in {logs}" if logs else ""))


def _join(address: str, quiet: dict[str, Any]) -> None:
    import ray

    try:
        _check_reachable(address)
        ray.init(address=address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"--address {address}: no Ray cluster answers there: {str(error).splitlines()[0]} "
            "(one with token authentication, Ray's default, needs RAY_AUTH_MODE=token here)"
        ) from None


def _check_reachable(address: str) -> None:
    """Fail at once where Ray would retry for minutes."""
    match = re.fullmatch(r"(?:ray://)?(.+):(\d+)", address)
    if match is not None:
        socket.create_connection((match[1], int(match[2])), timeout=CONNECT_TIMEOUT_S).close()


def stop_ray() -> None:
    """Leave the cluster; end it if it was started here."""
    ray = sys.modules.get("ray")
    if ray is not None and hasattr(ray, "shutdown"):  # otherwise it was never imported, or its import was interrupted
        ray.shutdown()


def machines() -> list[dict[str, float]]:
    """Return the resources of each machine in the cluster; Ray must be running."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def plan_workers(
    resources: Resources, cluster: Sequence[Mapping[str, float]], wanted: int | None, logs: Path | None = None
) -> WorkerPlan:
    """Divide a cluster among workers.

    Args:
        resources: of one trial; gpus None for one GPU if there is any, or an equal share among `wanted` workers.
        cluster: each machine's "CPU" and "GPU".
        wanted: number of workers; None for as many as fit.
        logs: as in `WorkerPlan`.

    Raises:
        UserError: no trial fits, or fewer than wanted.
    """
    n_cpus = sum(int(machine.get("CPU", 0)) for machine in cluster)
    n_gpus = sum(machine.get("GPU", 0.0) for machine in cluster)
    gpus = resources.gpus
    if gpus is None:
        per_gpu = -(-wanted // int(n_gpus)) if wanted is not None and n_gpus else 1
        gpus = int(10_000 / per_gpu) / 10_000 if n_gpus else 0.0  # Ray counts GPUs in ten-thousandths
    fit = sum(_fit(machine, resources.cpus, gpus) for machine in cluster)
    have = f"this {'machine' if wanted is None else 'cluster'} has {n_cpus} CPUs and {n_gpus:g} GPUs"
    if len(cluster) > 1:
        have = f"this cluster of {len(cluster)} machines has {n_cpus} CPUs and {n_gpus:g} GPUs"
    if fit < 1:
        raise UserError(f"resources: one trial wants {resources.cpus} CPUs and {gpus:g} GPUs, but {have}")
    if wanted is not None and wanted > fit:
        raise UserError(
            f"--workers {wanted}: {have}, enough for {fit} trials of {resources.cpus} CPUs and {gpus:g} GPUs at a time"
        )
    return WorkerPlan(wanted or fit, resources.cpus, gpus, logs)


def _fit(machine: Mapping[str, float], cpus: int, gpus: float) -> int:
    """Return how many trials fit on a machine."""
    fit, n_gpus = int(machine.get("CPU", 0)) // cpus, machine.get("GPU", 0.0)
    if gpus:
        fit = min(fit, int(n_gpus) * int(1 / gpus) if gpus <= 1 else int(n_gpus // gpus))
    return fit
