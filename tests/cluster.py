"""A Ray cluster of the tests' own: joining it saves a search the start of Ray, which costs more than a tiny search."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fmnist_tune.search.cluster import ENVIRONMENT, OBJECT_STORE_BYTES

START_S = 90.0
FAIR = {"RAY_worker_niceness": "0"}  # otherwise the tests of another process starve Ray's workers


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster on this machine.

    Attributes:
        address: of its head.
        environment: variables that a program needs to join it.
    """

    address: str
    environment: Mapping[str, str]


@contextmanager
def ray_cluster() -> Iterator[Cluster]:
    """Run a cluster of 2 CPUs and a GPU that is not there: training falls back to the CPU, one trial at a time."""
    port, client_port = _free_ports(2)
    # On both sides, as Ray's documentation asks; there may be no token in the home.
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    words = ["--head", "--block", "--num-cpus", "2", "--num-gpus", "1", "--include-dashboard", "false"]
    words += ["--port", port, "--ray-client-server-port", client_port]  # each process of the tests has a cluster
    words += ["--min-worker-port", "0", "--max-worker-port", "0", "--object-store-memory", str(OBJECT_STORE_BYTES)]
    head = subprocess.Popen(
        [Path(sys.executable).with_name("ray"), "start", *words],
        env={**os.environ, **ENVIRONMENT, **FAIR, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + START_S
        while not _answers(int(port)):
            assert head.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        yield Cluster(f"127.0.0.1:{port}", environment)
        assert head.poll() is None
    finally:
        os.killpg(head.pid, signal.SIGKILL)  # all of its processes; asked to end, it takes half a minute
        head.wait(timeout=60)


def _free_ports(n: int) -> list[str]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [str(each.getsockname()[1]) for each in sockets]


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True
