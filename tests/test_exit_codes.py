"""A crash is 1 to whoever reads exit codes, and so is an end by a library's exit(2)."""

import subprocess
import sys
from pathlib import Path

import pytest

_COMMAND = """
import ctypes, os, sys
from raysweep.exit_codes import own_exit_code
with own_exit_code():
    {body}
"""
_EXIT = "ctypes.CDLL(None).exit(2)"


def _code(folder: Path, body: str, name: str = "raysweep") -> tuple[int, str]:
    (folder / name).write_text(_COMMAND.format(body=body))
    done = subprocess.run([sys.executable, folder / name], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("body", "code"),
    [(_EXIT, 1), ("ctypes.CDLL(None).exit(0)", 1), ("sys.exit(2)", 2), ("sys.exit(3)", 3), ("sys.exit()", 0),
     ("pass", 0), ("sys.exit('why')", 1), ("raise ValueError", 1), ("os.abort()", -6), ("os._exit(143)", 143)],
)  # fmt: skip
def test_exit_codes(body: str, code: int, tmp_path: Path) -> None:
    assert _code(tmp_path, body)[0] == code


def test_a_library_in_a_thread(tmp_path: Path) -> None:
    body = f"import threading; t = threading.Thread(target=lambda: {_EXIT}); t.start(); t.join()"
    assert _code(tmp_path, body)[0] == 1


def test_what_python_does_at_its_end_is_done(tmp_path: Path) -> None:
    body = "import atexit; atexit.register(print, 'tidied'); print('said'); sys.exit(3)"
    assert _code(tmp_path, body) == (3, "said\ntidied\n")


def test_other_processes_keep_theirs(tmp_path: Path) -> None:
    assert _code(tmp_path, _EXIT, "pytest")[0] == 2
