"""What is printed decides nothing: a terminal of few characters, a reader that has gone and a full disk end no work."""

import codecs
import errno
import io
import os
import sys
from contextlib import suppress

_HANDLER = "raysweep-plain"
_PLAIN = {
    "µ": "u", "μ": "u", "×": "x", "–": "-", "—": "-", "−": "-", "·": "|", "…": "...", "±": "+-", "≤": "<=", "≥": ">=",
    "≈": "~", "→": "->", "†": "+", "‡": "++", "§": "#", "’": "'", "“": '"', "”": '"', "\u202f": " ",
}  # fmt: skip


def patient_output() -> None:
    """Let standard output and standard error take everything, from now to the end of the process.

    Characters that their encoding lacks are written plainly (um for µm), or as `\\xe4`. A pipe whose reader has gone
    takes the rest of what is printed, unseen; a disk that is full is told, once, on standard error. What was closed
    before the process began, standard input too, is nowhere: Python has None for it, and a file that is opened later
    would be in its place. Streams that are no files of the system stay as they are.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            if number:
                os.set_blocking(number, True)  # of a pipe that others have set not to wait for its reader
            else:
                os.fstat(number)
        except OSError:  # closed by `>&-`
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, number)
            if nowhere == number:
                os.set_inheritable(number, True)
            else:
                os.close(nowhere)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
    if not os.environ.get("TERMINAL_WIDTH", "").isdecimal():  # Typer's, which ends at what is no number
        os.environ.pop("TERMINAL_WIDTH", None)
    codecs.register_error(_HANDLER, _plainly)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if type(stream) is io.TextIOWrapper:
            with suppress(OSError):
                stream.flush()
            setattr(sys, name, _Patient(stream))


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

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__(stream.buffer, encoding=stream.encoding, errors=_HANDLER,
                         line_buffering=stream.line_buffering, write_through=stream.write_through)  # fmt: skip
        self._before = stream  # it would close the file at its end

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
