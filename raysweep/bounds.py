"""How much of a machine's memory a file of somebody else may take before it is refused."""

import os
from collections.abc import Iterable, Iterator
from typing import TypeVar

from raysweep.errors import WorkError

T = TypeVar("T")
MOST_CELLS = 20_000_000  # of a table that is read whole: 300,000 rows of 60 columns


def check_room(need_bytes: int, what: str) -> None:
    """Raise WorkError, which begins with `what`, where that many bytes are more than half of this machine's memory."""
    half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    if need_bytes > half:
        raise WorkError(
            f"{what}: to read it takes about {need_bytes / 2**30:.1f} GiB of memory, more than half of this machine's; "
            "divide it into smaller files"
        )


def bounded(rows: Iterable[T], columns: int) -> Iterator[T]:
    """The rows of a table, which are all kept. Raises WorkError when they have more than 20 million cells: a few kB
    can name so many columns that each short line becomes a large row."""
    for number, row in enumerate(rows):
        if number * columns > MOST_CELLS:
            raise WorkError(f"it has more than {MOST_CELLS:,} cells; leave out columns that nothing reads")
        yield row
