"""How the C library treats freed memory."""

import ctypes

# glibc gives large blocks of memory back at once, and a step on CPUs then pays for every page anew, with a third of its
# time. These let it keep them; other C libraries do not read them. They must be there when the process starts.
KEEP_MEMORY = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}

_PARAMETERS = {"MALLOC_ARENA_MAX": -8, "MALLOC_MMAP_MAX_": -4, "MALLOC_TRIM_THRESHOLD_": -1}  # of glibc's malloc.h


def keep_memory() -> bool:
    """The same for this process as it runs, as far as it has not begun otherwise; False where there is no glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(_PARAMETERS[name], int(value)) == 1 for name, value in KEEP_MEMORY.items())
