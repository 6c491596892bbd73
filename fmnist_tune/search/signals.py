"""Ctrl-C and SIGTERM: the first stops after the running epochs, the second at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from types import FrameType
from typing import Protocol


class Stoppable(Protocol):
    """Work that starts no further epoch once it was asked to stop."""

    stop_requested: bool


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM; do nothing outside the main thread, where Python allows no handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def losing_no_ctrl_c() -> Iterator[None]:
    """Raise KeyboardInterrupt at the end if SIGINT or SIGTERM came and what its handler raised was lost.

    Python swallows what is raised in a callback, such as those after a fork, of which starting Ray makes many.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)  # gets each signal, whoever handles it
    try:
        yield
        with suppress(BlockingIOError):
            if {signal.SIGINT, signal.SIGTERM} & set(os.read(reader, 4096)):
                raise KeyboardInterrupt
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


@contextmanager
def stopping_on_signals(work: Stoppable, say: Callable[[str], None]) -> Iterator[None]:
    """Let running epochs end at the first SIGINT or SIGTERM; raise KeyboardInterrupt at the second.

    A handler may interrupt the main thread while it writes a line. Python refuses a nested write, and waiting for
    the line's lock would never end, so another thread prints the messages.
    """
    to_say: SimpleQueue[str | None] = SimpleQueue()  # the only queue that a signal handler may use

    def say_all() -> None:
        while (text := to_say.get()) is not None:
            with suppress(OSError):  # the reader is gone or the disk is full: stop all the same
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
