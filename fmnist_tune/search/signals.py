"""Ctrl-C and SIGTERM: once to stop after the running epochs, twice to stop at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol


class Stoppable(Protocol):
    """Something that begins no epoch any more once it was asked to stop."""

    stop_requested: bool


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt; does nothing outside the main thread, where Python allows no handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def stopping_on_signals(work: Stoppable, say: Callable[[str], None]) -> Iterator[None]:
    """The first SIGINT or SIGTERM lets running epochs end; the second raises KeyboardInterrupt."""

    def handle(number: int, frame: FrameType | None) -> None:
        if work.stop_requested:
            raise KeyboardInterrupt
        work.stop_requested = True
        say("stopping after the running epochs; once more stops at once, and loses no finished epoch either")

    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, handle) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
