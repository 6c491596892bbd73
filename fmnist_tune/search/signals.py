"""Ctrl-C and SIGTERM: once to stop after the running epochs, twice to stop at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
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
    """The first SIGINT or SIGTERM lets running epochs end; the second raises KeyboardInterrupt.

    A handler runs in the middle of whatever the main thread was doing, perhaps of writing a line. A second write
    inside it is refused by Python, and a lock is waited for in vain: so another thread says what is to be said.
    """
    to_say: SimpleQueue[str | None] = SimpleQueue()  # the one queue that a handler may put something in

    def say_all() -> None:
        while (text := to_say.get()) is not None:
            with suppress(OSError):  # nobody reads any more, or the disk is full: it stops all the same
                say(text)

    def handle(number: int, frame: FrameType | None) -> None:
        if work.stop_requested:
            raise KeyboardInterrupt
        work.stop_requested = True
        to_say.put("stopping after the running epochs; once more stops at once, and loses no finished epoch either")

    speaker = threading.Thread(target=say_all, daemon=True)
    speaker.start()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, handle) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        to_say.put(None)
        speaker.join()
