"""What Ray Data has to say while a pipeline runs: each warning is one line among those of the program's own."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

_LOG = logging.getLogger("ray.data")
_LINE = 400  # characters
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_NUMBERS = re.compile(r"\b(0x)?[0-9a-f]*\d[0-9a-f.]*|\d+")  # also ids, which are hexadecimal
_NOTES = "Found {} issues", "Progress bars disabled"  # how to switch Ray Data's own parts off and on
_RAISED = "ray.data.exceptions", "An exception was raised from a task"  # the end of a stream tells the error


class _Lines(logging.Handler):
    """Gives warnings to the stream that began last. Of those that differ in numbers alone the first is told."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.tells: list[tuple[Callable[[str], None], set[str]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = " ".join(_ANSI.sub("", record.getMessage()).split())
            alike = _NUMBERS.sub("{}", text)
            tell, told = self.tells[-1]
            raised = record.levelno >= logging.ERROR and (
                record.exc_info or record.name == _RAISED[0] or text.startswith(_RAISED[1])
            )
            if raised or alike in told or alike.startswith(_NOTES):
                return
            told.add(alike)
            tell(f"Ray Data: {text if len(text) <= _LINE else f'{text[: _LINE - 1]}…'}")
        except Exception:  # as all handlers do: what cannot be told must not end the work
            self.handleError(record)


_lines, _lock = _Lines(), Lock()
_before: list[int] = []  # the logger's level, while streams run


@contextmanager
def warnings_told(tell: Callable[[str], None]) -> Iterator[None]:
    """Ray Data's warnings and errors go to `tell`, one line for each kind, until the block ends.

    Its own lines on the terminal, notes of progress among them, are not shown meanwhile; its log file in Ray's folder
    gets the warnings. An error that ends the pipeline is raised, so it is not told here.
    """
    mine = (tell, set[str]())
    with _lock:
        if not _lines.tells:
            _before.append(_LOG.level)
            _LOG.setLevel(logging.WARNING)
            _LOG.addHandler(_lines)
            for handler in _terminals():
                handler.addFilter(_nothing)
        _lines.tells.append(mine)
    try:
        yield
    finally:
        with _lock:
            _lines.tells.remove(mine)
            if not _lines.tells:
                _LOG.setLevel(_before.pop())
                _LOG.removeHandler(_lines)
                for handler in _terminals():
                    handler.removeFilter(_nothing)


def _terminals() -> list[logging.Handler]:
    """The handlers that write to a stream, which is the terminal, and not to a file."""
    streams = (handler for handler in _LOG.handlers if isinstance(handler, logging.StreamHandler))
    return [handler for handler in streams if not isinstance(handler, logging.FileHandler)]


def _nothing(record: logging.LogRecord) -> bool:
    return False
