"""How much of a machine's memory a file of somebody else may take before it is refused."""

import os

from raysweep.errors import WorkError

MOST_CELLS = 20_000_000  # of a table that is read whole: 300,000 rows of 60 columns


def check_room(need_bytes: int, what: str) -> None:
    """Raise WorkError, which begins with `what`, where that many bytes are more than half of this machine's memory."""
    half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    if need_bytes > half:
        raise WorkError(
            f"{what}: to read it takes about {need_bytes / 2**30:.1f} GiB of memory, more than half of this machine's; "
            "divide it into smaller files"
        )
