"""Ctrl-C ends the step in progress, lets it be saved, and then the training."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_requests(*, quiet: bool = False) -> Iterator[list[int]]:
    """A list that becomes non-empty when Ctrl-C or SIGTERM arrives, so that the step in progress
    can end and be saved. A second one interrupts at once. Only Python's main thread can listen.
    quiet: of several processes that stop together, one tells."""
    received: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        if not quiet:   # not through sys.stderr: the signal may have come in the middle of a line
            os.write(2, b"\nstopping after this step; once more to stop at once, without saving\n")

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.signal(number, on_signal)
              for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
