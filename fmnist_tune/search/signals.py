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
def holding_back_ctrl_c() -> Iterator[None]:
    """Raise KeyboardInterrupt at the end if SIGINT or SIGTERM came; at once at the second.

    An exception within an import that another thread waits for can leave its lock taken for ever, and Python swallows
    one that is raised in a callback, such as those after a fork: starting Ray does a lot of both.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    n_signals = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal n_signals
        n_signals += 1
        if n_signals > 1:
            raise KeyboardInterrupt

    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)  # gets each signal, also if Ray handles it
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
        with suppress(BlockingIOError):
            if before.keys() & set(os.read(reader, 4096)):
                raise KeyboardInterrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
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
