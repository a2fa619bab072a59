"""Ctrl-C and SIGTERM end a command in the same way: what it does is given up, tidily, and can be gone on with."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}  # 128 and the signal's number, as shells have it

_got: list[int] = []  # signals that came, the first one first


class Stopped(KeyboardInterrupt):
    """A signal asked for the end. A KeyboardInterrupt, because that is what libraries let through."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGINT and SIGTERM raise Stopped in the block, even where the process was started with them ignored.

    (`nohup`, `&` in a script and cron ignore SIGINT, and every child would inherit that: Ray could interrupt none of
    its tasks.) A second signal while the block ends is ignored; a third ends the process at once. Works in the main
    thread, elsewhere the block runs as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _got.clear()
    before = {number: signal.getsignal(number) for number in EXIT_CODES}
    take_signals()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def take_signals() -> None:
    """Handle the signals here from now on: Ray, for one, takes SIGTERM for itself when it starts."""
    if threading.current_thread() is threading.main_thread():
        for number in EXIT_CODES:
            signal.signal(number, _handle)


def exit_code() -> int:
    """What a command that was stopped ends with: 130 after Ctrl-C, 143 after SIGTERM."""
    return EXIT_CODES[signal.Signals(_got[0])] if _got else EXIT_CODES[signal.SIGINT]


def _handle(number: int, frame: FrameType | None) -> None:
    _got.append(number)
    if len(_got) == 1:
        raise Stopped
    if len(_got) > 2:
        os._exit(exit_code())
