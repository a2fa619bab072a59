"""What is printed decides nothing: a terminal of few characters, a reader that has gone and a full disk end no work."""

import codecs
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_HANDLER = "raysweep-plain"
_PLAIN = {
    "µ": "u", "μ": "u", "×": "x", "–": "-", "—": "-", "−": "-", "·": "|", "…": "...", "±": "+-", "≤": "<=", "≥": ">=",
    "≈": "~", "→": "->", "†": "+", "‡": "++", "§": "#", "’": "'", "“": '"', "”": '"', "\u202f": " ",
}  # fmt: skip


@contextmanager
def patient_output() -> Iterator[None]:
    """Let standard output and standard error take everything in the block.

    Characters that their encoding lacks are written plainly (um for µm), or as `\\xe4`. A pipe whose reader has gone
    takes the rest of what is printed, unseen; a disk that is full is told, once, on standard error.
    """
    for number in (1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed by `>&-`: the next file that is opened would get what is printed
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_patient(stream) for stream in before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(ValueError, AttributeError):  # closed, or none
                stream.flush()
        sys.stdout, sys.stderr = before


def _patient(stream: Any) -> Any:
    """The same stream with patience; what is no file of the system stays as it is."""
    if type(stream) is not io.TextIOWrapper:
        return stream
    codecs.register_error(_HANDLER, _plainly)
    with suppress(OSError):
        stream.flush()
    return _Patient(
        stream.buffer,
        encoding=stream.encoding,
        errors=_HANDLER,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    if all("\udc80" <= c <= "\udcff" for c in lacking) and error.encoding == "utf-8":
        return lacking.encode(errors="surrogateescape"), error.end  # a file's name, as its bytes are
    text = "".join(_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in lacking)
    return text, error.end


class _Patient(io.TextIOWrapper):
    """Standard output or error: what cannot be written any more goes nowhere."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        number = self.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)  # what is still buffered goes there too
        os.close(nowhere)
        if error.errno != errno.EPIPE and number == 1:
            with suppress(OSError):
                os.write(2, f"raysweep: the output could not be written ({error.strerror})\n".encode())
