"""How many trials may run at a time, and when the next may start: fewer and later while memory is short."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from enum import Enum, auto

from fmnist_tune.search.memory import GIB, Room, measure_room, measure_settled_room
from fmnist_tune.search.messages import MAX_CRASHES

AGAIN_S = 0.5  # until a trial that died alone is retried; doubled at every such death
SHORT_S = 10.0  # until the next try on a full machine; doubled at every failed one
QUIET_S = 60.0  # without lack of memory, until one more may run; doubled at every lack
LONGEST_S = 300.0  # of both


class Fate(Enum):
    """What happens to a trial that cannot continue: retried, retried after all others, or failed."""

    AGAIN = auto()
    LAST = auto()
    FAILS = auto()


class Pace:
    """Holds trials back while memory is short: that is the machine's state, not a trial's fault.

    Attributes:
        problem: the lack of memory that keeps anything from being trained; None if there is none.
    """

    def __init__(self, *, is_local: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without a limit.

        Args:
            is_local: whether this machine trains; the memory of others is unknown.
            clock: tells the time in seconds.
        """
        self._clock = clock
        self._n_allowed = math.inf
        self.problem: str | None = None
        self._is_local = is_local
        self._n_full = 0  # trials at a time when memory became short
        self._is_short = False
        self._not_before = self._quiet_since = -math.inf
        self._short_s, self._quiet_s = SHORT_S, QUIET_S
        self._died: set[object] = set()  # since the last training progress, while others left enough for small trials
        self._deaths_alone: Counter[object] = Counter()  # while others left enough memory

    def allows_another(self, n_running: int) -> bool:
        """Return whether another trial may start."""
        now = self._clock()
        if n_running:
            if self._n_allowed < math.inf and now - self._quiet_since > self._quiet_s and self.has_enough():
                self._n_allowed, self._quiet_since = self._n_allowed + 1, now
                if self._n_allowed >= self._n_full:
                    self._n_allowed = math.inf
            return n_running < self._n_allowed
        return now >= self._not_before or (self._is_short and self.has_enough())

    def on_progress(self) -> None:
        """Note training progress: the machine is no longer full."""
        self._short_s, self.problem = SHORT_S, None
        self._died.clear()

    def on_death(self, trial: object, n_others: int, room: Room | None = None) -> tuple[Fate, str]:
        """Note that a trial ended, or its worker died, for lack of memory.

        Args:
            trial: identifies it.
            n_others: how many other trials were running.
            room: memory that its worker found afterwards; None if the worker died: this machine is measured instead.

            Returns:
                The trial's fate, and a message about it.
        """
        if n_others:
            return Fate.AGAIN, f"it goes on, {self.slow_down(n_others + 1)}"
        self.limit(1, 1)
        is_measured_here = room is None
        if room is None and self._is_local:
            room = measure_settled_room()
        if room is None or room.is_enough:
            self._deaths_alone[trial] += 1
            n_deaths = self._deaths_alone[trial]
            if n_deaths >= MAX_CRASHES:
                self._n_allowed = math.inf  # it was this trial that was too large
                free = "" if room is None else f", with {room.free / GIB:.1f} GiB of memory to itself"
                return Fate.FAILS, f"as the only one that ran{free}"
            self._not_before = self._clock() + AGAIN_S * 2**n_deaths
            return Fate.AGAIN, "it is tried again, alone"
        if room.has_place and trial not in self._died:
            self._died.add(trial)
            return Fate.LAST, f"{room}, other trials go first"
        self._is_short = is_measured_here
        self.problem = f"memory is short: {room}"
        self._not_before = self._clock() + self._short_s
        text = f"{room}: waits for more, and tries again after {self._short_s:.0f} s at the latest"
        self._short_s = min(2 * self._short_s, LONGEST_S)
        return Fate.AGAIN, text

    def n_deaths(self, trial: object) -> int:
        """Return how often a trial's worker died for lack of memory while others left enough."""
        return self._deaths_alone[trial]

    def slow_down(self, n_running: int) -> str:
        """Halve the number of trials at a time; return a message about it."""
        n_allowed = max(1, n_running // 2)
        self.limit(n_allowed, n_running)
        return f"with at most {n_allowed} worker{'s' if n_allowed > 1 else ''} at a time while memory is short"

    def limit(self, n_allowed: int, n_running: int) -> None:
        """Limit the trials at a time; one more is tried from time to time."""
        self._n_full = max(self._n_full, n_running)
        self._n_allowed, self._quiet_since = n_allowed, self._clock()
        self._quiet_s = min(2 * self._quiet_s, LONGEST_S)

    def has_enough(self) -> bool:
        """Return whether there is so much memory that a trial that does not fit is itself too large."""
        room = measure_room() if self._is_local else None
        return room is None or room.is_enough
