"""Ctrl-C and SIGTERM held back while something must not be left half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM, which a cluster sends before it kills, be a Ctrl-C inside, where it would end the process."""
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def end_quietly(_: int) -> None:
    """Let a process that loads images end at SIGTERM as it does at Ctrl-C: the one that trains has it too, and says so.

    A cluster sends it to all; one that it killed would be an error of the training.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextmanager
def unbroken() -> Iterator[None]:
    """Let what is inside end before a Ctrl-C or SIGTERM counts; a second one counts at once.

    Outside the main thread, where Python allows no other handler, and where a signal is ignored or left to the system,
    nothing is held back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in handlers.items() if callable(handler)}
    came: list[int] = []

    def hold(number: int, frame: object) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    for number in before:
        signal.signal(number, hold)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
