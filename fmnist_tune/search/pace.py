"""How many trials may be trained at a time, and from when on: fewer, and later, while memory is short."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from enum import Enum, auto

from fmnist_tune.search.memory import GIB, Room, measure_room, measure_settled_room
from fmnist_tune.search.messages import MAX_CRASHES

AGAIN_S = 0.5  # doubled at every death of a trial that was alone
SHORT_S = 10.0  # until the next try on a machine that is full, doubled at every one that fails
QUIET_S = 60.0  # without problem, until one more may run at a time; doubled at every problem
LONGEST_S = 300.0  # of both


class Fate(Enum):
    """What becomes of a trial that cannot go on: tried again, tried again after all others, or failed."""

    AGAIN = auto()
    LAST = auto()
    FAILS = auto()


class Pace:
    """Holds work back while memory is short, which is the machine's state and no trial's fault.

    Attributes:
        problem: why nothing is trained; None if something is, or no lack of memory keeps it from being.
    """

    def __init__(self, *, is_local: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without a limit.

        Args:
            is_local: whether this machine is the one that trains; the memory of others is not known here.
            clock: tells the time in seconds.
        """
        self._clock = clock
        self._n_allowed = math.inf
        self.problem: str | None = None
        self._is_local = is_local
        self._n_full = 0  # that ran at a time before memory was short
        self._is_short = False
        self._not_before = self._quiet_since = -math.inf
        self._short_s, self._quiet_s = SHORT_S, QUIET_S
        self._died: set[object] = set()  # since something was trained, where others left enough for small trials
        self._deaths_alone: Counter[object] = Counter()  # with enough memory left by others

    def allows_another(self, n_running: int) -> bool:
        """Return whether another trial may begin beside those that run."""
        now = self._clock()
        if n_running:
            if self._n_allowed < math.inf and now - self._quiet_since > self._quiet_s and self.has_enough():
                self._n_allowed, self._quiet_since = self._n_allowed + 1, now
                if self._n_allowed >= self._n_full:
                    self._n_allowed = math.inf
            return n_running < self._n_allowed
        return now >= self._not_before or (self._is_short and self.has_enough())

    def on_progress(self) -> None:
        """Take note that something has been trained: the machine is not full any more."""
        self._short_s, self.problem = SHORT_S, None
        self._died.clear()

    def on_death(self, trial: object, n_others: int, room: Room | None = None) -> tuple[Fate, str]:
        """Take note that a trial ended, or its worker died, for want of memory.

        Args:
            trial: identifies it.
            n_others: how many were trained besides.
            room: that its worker found afterwards; None if it died, so that this machine is measured.

        Returns:
            What becomes of it, and what to say of that.
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
        """Return how often a trial's worker has died for want of memory while others left enough."""
        return self._deaths_alone[trial]

    def slow_down(self, n_running: int) -> str:
        """Let half as many run at a time as ran when memory was short; returns what to say of it."""
        n_allowed = max(1, n_running // 2)
        self.limit(n_allowed, n_running)
        return f"with at most {n_allowed} worker{'s' if n_allowed > 1 else ''} at a time while memory is short"

    def limit(self, n_allowed: int, n_running: int) -> None:
        """Let fewer run at a time than did; from time to time one more is tried."""
        self._n_full = max(self._n_full, n_running)
        self._n_allowed, self._quiet_since = n_allowed, self._clock()
        self._quiet_s = min(2 * self._quiet_s, LONGEST_S)

    def has_enough(self) -> bool:
        """Return whether whatever cannot be trained now is itself too large."""
        room = measure_room() if self._is_local else None
        return room is None or room.is_enough
