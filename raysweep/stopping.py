"""Ctrl-C, SIGTERM and a hangup end a command in the same way: what it does is given up, tidily, to be gone on with."""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPPED = "stopped; run the same command again to go on"
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}  # 128 and its number, as shells have it
_TIDY_SECONDS = 8.0  # for what is under way to end itself; schedulers send SIGKILL after 10 s and more


class Stopped(KeyboardInterrupt):
    """A signal asked for the end. A KeyboardInterrupt, because that is what libraries let through."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP raise Stopped in the block, the first two even where they are ignored.

    (`nohup`, `&` in a script and cron ignore SIGINT, and every child would inherit that: Ray could interrupt none of
    its tasks. But what was started with `nohup` is to outlive its terminal.) The handlers stay for the whole block: Ray
    would take SIGTERM for itself when it starts; Ray Train and Ray Tune would take SIGINT and keep it when they have
    ended, and then end the process with 0, or do nothing.

    A second signal while the block ends is ignored; a third ends the process at once, and so does a block that has not
    ended 8 s after the first. Works in the main thread; elsewhere the block runs as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in EXIT_CODES}
    if before[signal.SIGHUP] == signal.SIG_IGN:
        del before[signal.SIGHUP]
    take = signal.signal

    def take_other(number: int, handler: Any) -> Any:
        return signal.getsignal(number) if number in before else take(number, handler)

    _signals.begin(take, before)
    signal.signal = take_other  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal = take
        _signals.ended.set()
        for number, handler in before.items():
            take(number, handler if handler is not None else signal.SIG_DFL)
        _signals.take = None


@contextmanager
def not_now() -> Iterator[None]:
    """Let a signal that comes in the block raise Stopped at the end of it: half a start would leave processes behind.

    What C++ did to the handlers in the block is undone.
    """
    if _signals.take is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    _signals.wait = True
    try:
        yield
    finally:
        _signals.wait = False
        _signals.handle_all()
        if _signals.got:
            raise Stopped


def heed_ctrl_c() -> None:
    """Stop ignoring SIGINT, if it is ignored: before Ray is started without `stoppable`.

    Its workers inherit what is ignored, and Ray interrupts their tasks by SIGINT.
    """
    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    if ignored and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def exit_code() -> int:
    """What a command that was stopped ends with: 130 after Ctrl-C, 143 after SIGTERM, 129 after a hangup."""
    return EXIT_CODES[_signals.got[0]] if _signals.got else EXIT_CODES[signal.SIGINT]


class _Signals:
    """What came since `stoppable` began."""

    def __init__(self) -> None:
        self.take: Callable[[int, Any], Any] | None = None  # the true `signal.signal`, within `stoppable`
        self.numbers: list[int] = []  # those that are handled
        self.got: list[signal.Signals] = []  # the first one first
        self.ended = threading.Event()
        self.wait = False

    def begin(self, take: Callable[[int, Any], Any], numbers: Iterable[int]) -> None:
        self.numbers = list(numbers)
        self.got, self.ended, self.wait, self.take = [], threading.Event(), False, take
        self.handle_all()

    def handle_all(self) -> None:
        assert self.take is not None
        for number in self.numbers:
            self.take(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.got.append(signal.Signals(number))
        if len(self.got) > 2:
            os._exit(exit_code())
        if len(self.got) == 1:
            threading.Thread(target=self._end_in_time, args=(self.ended,), name="stopping", daemon=True).start()
            if not self.wait:
                raise Stopped

    @staticmethod
    def _end_in_time(ended: threading.Event) -> None:
        """End the process when the block does not: something hangs, or has caught Stopped and gone on."""
        if not ended.wait(_TIDY_SECONDS):
            os.write(2, f"raysweep: {STOPPED}\n".encode())
            os._exit(exit_code())


_signals = _Signals()
