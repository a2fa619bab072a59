"""Work done in background threads before it is asked for, its results in the order of the questions."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_Item = TypeVar("_Item")


def ahead(make: Callable[[_Item], _T], items: Iterable[_Item], *, threads: int) -> Generator[_T, None, None]:
    """`make` of each item, in order; while one is used, the next `threads` are made.

    `make` must be a function of its item alone and safe to call from several threads: what comes out is then what a
    plain loop would give. An error comes out where its item would have. Nobody is left at work when the iterator is
    closed.
    """
    waiting: deque[Future[_T]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="ahead") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(make, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
