"""Trying again what may have failed by accident: a storage that was busy, a network that was away."""

import errno
import os
import re
import time
from collections.abc import Callable
from typing import TypeVar

_TRIES = 3
_WAIT_SECONDS = 0.3  # before the second try; four times as long before the third
_PATIENCE_SECONDS = 90.0  # for what a whole run depends on
_LONGEST_WAIT_SECONDS = 4.0
_STRANGER_SECONDS = 5.0  # for what a command has never reached: its address is wrong more often than it is away
_TRANSIENT = frozenset({
    errno.EIO, errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNRESET,
    errno.ECONNABORTED, errno.ECONNREFUSED, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH,
    errno.EPIPE, errno.EREMOTEIO, errno.ENOTCONN, errno.ESHUTDOWN,
})  # fmt: skip
# What object storages say, in Arrow's words, and what C libraries make of EIO.
_WORDS = re.compile(
    r"HTTP status (-1|5(?!0[157])\d\d|429)|SLOW_?DOWN|NETWORK_CONNECTION|REQUEST_TIMEOUT|UNAVAILABLE|INTERNAL_FAILURE"
    r"|timed out|Input/output error|I/O error|Stale file handle|Connection reset",
    re.IGNORECASE,
)

_T = TypeVar("_T")


def retried(call: Callable[[], _T], *, tries: int = _TRIES) -> _T:
    """What `call` returns; where it raises an error that may be gone soon, it is called again, `tries` times in all."""
    for number in range(tries - 1):
        try:
            return call()
        except Exception as error:
            if not is_transient(error):
                raise
        time.sleep(_WAIT_SECONDS * 4**number)
    return call()


def patiently(call: Callable[[], _T], place: str) -> _T:
    """What `call` returns; where it raises an error that may be gone soon, it is called again for a minute and a half.

    A `place` that has not come back in that time is asked once, from then on, until it answers: a run that ends has
    many files to put away. One that has not answered this process yet is asked for 5 s, but by Ray's workers: a run
    that has begun gives them places that are there.
    """
    known = place in _answered or "RAY_RAYLET_PID" in os.environ  # Ray sets it in its workers
    end, wait = time.monotonic() + (_PATIENCE_SECONDS if known else _STRANGER_SECONDS), _WAIT_SECONDS
    while True:
        try:
            found = call()
        except Exception as error:
            if not is_transient(error):
                _answered.add(place)
                raise
            if place in _gone or time.monotonic() + wait > end:
                _gone.add(place)
                raise
        else:
            _gone.discard(place)
            _answered.add(place)
            return found
        time.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT_SECONDS)


_gone: set[str] = set()
_answered: set[str] = set()


def is_transient(error: BaseException) -> bool:
    """Whether an error, or one that brought it about, is of the kind that may be gone soon."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _TRANSIENT:
            return True
        if _WORDS.search(str(seen)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
