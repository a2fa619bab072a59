"""How the C library treats freed memory."""

import ctypes

# glibc gives large blocks of memory back at once, and a step on CPUs then pays for every page anew, with a third of its
# time. Parameters of its malloc.h, and values with which it keeps them: no mapping, no trimming, one arena.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_KEEP = {_M_ARENA_MAX: 1, _M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1}


def keep_memory() -> bool:
    """Let this process keep the memory that it frees, as far as it has not begun otherwise; False without glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(parameter, value) == 1 for parameter, value in _KEEP.items())
