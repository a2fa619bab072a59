"""A library that ends the process says nothing of the request: its exit code becomes 1."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CRASHED = 1


@contextmanager
def own_exit_code() -> Iterator[None]:
    """In a process of the `raysweep` command, let nobody but this block's SystemExit choose the exit code.

    Libraries in C call exit() on what they cannot bear (Intel's MKL with 2, the code of a wrong request). The first
    function called by exit() is then `_exit(1)`; after the block one with the right code comes before it. A signal,
    such as that of abort(), is seen by the caller as ever. Does nothing in other processes.
    """
    if not _is_the_command():
        yield
        return
    _end_with(_CRASHED)
    code: object = 0
    try:
        yield
    except SystemExit as end:
        code = end.code if end.code is not None else 0
        raise
    except BaseException:
        code = _CRASHED
        raise
    finally:
        _end_with(code if isinstance(code, int) else _CRASHED)


def _is_the_command() -> bool:
    """Whether this process was started as `raysweep` or `python -m raysweep.cli`, and does not only call it."""
    main = Path(getattr(sys.modules["__main__"], "__file__", None) or "")
    return sys.platform != "win32" and main.name in ("raysweep", "cli.py")


def _end_with(code: int) -> None:
    """Let exit() call `_exit(code)`, before what was registered earlier. (No Python: it has ended by then.)"""
    libc = ctypes.CDLL(None)
    libc.__cxa_atexit.argtypes = [ctypes.c_void_p] * 3
    libc.__cxa_atexit(ctypes.cast(libc._exit, ctypes.c_void_p), ctypes.c_void_p(code & 0xFF), None)
