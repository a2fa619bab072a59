"""Output decides no exit code, and a reader sees what was meant."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from raysweep.output import patient_output

_CODE = """
import sys
from raysweep.output import patient_output
patient_output()
{body}
sys.exit(3)
"""
_ENGLISH = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}


def _run(body: str, env: dict[str, str] | None = None, **options: object) -> subprocess.CompletedProcess:
    code = _CODE.format(body=body)
    return subprocess.run([sys.executable, "-c", code], env=os.environ | (env or {}), timeout=60, **options)  # type: ignore[call-overload]


def test_a_terminal_of_few_characters() -> None:
    done = _run(r"print('0.5 µm × 2 – Käse †‡ \udce4'); print('µ', file=sys.stderr)", _ENGLISH, capture_output=True)
    assert done.returncode == 3
    assert done.stdout == b"0.5 um x 2 - K\\xe4se +++ \\udce4\n"
    assert done.stderr == b"u\n"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-8:strict"])
def test_what_can_be_written_stays(encoding: str) -> None:
    done = _run(r"print('µ × Käse')", {"PYTHONIOENCODING": encoding}, capture_output=True)
    assert done.stdout.decode(encoding.split(":")[0]) == "µ × Käse\n"


def test_a_name_that_is_no_utf_8_is_written_as_its_bytes() -> None:
    done = _run(r"print('K\udce4se.svs \ud800')", {"PYTHONIOENCODING": "utf-8"}, capture_output=True)
    assert done.stdout == b"K\xe4se.svs \\ud800\n"


def test_a_reader_that_has_gone() -> None:
    for name in ("stdout", "stderr"):
        read, write = os.pipe()
        os.close(read)
        body = f"[print('x' * 100, file=sys.{name}, flush=True) for _ in range(1000)]; open('/dev/null').close()"
        other = "stderr" if name == "stdout" else "stdout"
        done = _run(body, **{name: write, other: subprocess.PIPE})
        os.close(write)
        assert (done.returncode, getattr(done, other)) == (3, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_told() -> None:
    with open("/dev/full", "wb") as full:
        done = _run("[print('x' * 100) for _ in range(1000)]", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 3
    assert done.stderr == b"raysweep: the output could not be written (No space left on device)\n"


def test_a_pipe_that_somebody_has_set_not_to_wait() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    code = _CODE.format(body="[print('x' * 999) for _ in range(1000)]")
    with subprocess.Popen([sys.executable, "-c", code], stdout=write) as slow:
        os.close(write)
        with open(read, "rb") as reader:
            text = reader.read()
        assert slow.wait(60) == 3
    assert len(text) == 1_000_000


def test_closed_streams(tmp_path: Path) -> None:
    body = """
import os, subprocess
f = open('kept', 'w'); print('x'); print('y', file=sys.stderr); sys.stdout.write('x'); sys.stderr.write('y')
f.write(f'z{sys.stdin.read()}{sys.stdin.isatty()}'); f.close()
assert f.name == 'kept' and subprocess.run(['sh', '-c', 'echo x; echo y >&2; read z'], check=False).returncode == 1"""
    code = _CODE.format(body=body)
    done = subprocess.run(["sh", "-c", f'exec "{sys.executable}" -c "$0" <&- >&- 2>&-', code], cwd=tmp_path, timeout=60)
    assert done.returncode == 3
    assert (tmp_path / "kept").read_text() == "zFalse"


def test_other_streams_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = io.StringIO()
    monkeypatch.setattr(sys, "stdout", mine)
    patient_output()
    print("µ")
    assert sys.stdout is mine
    assert mine.getvalue() == "µ\n"


@pytest.mark.parametrize("arguments", [["checkpoints", "list"], ["--help"]])
def test_commands_on_such_outputs(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "raysweep.cli", *arguments]
    odd = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TERMINAL_WIDTH": "wide", "COLUMNS": "0", "TERM": "?"}
    ascii_only = os.environ | _ENGLISH | odd
    done = subprocess.run(command, env=ascii_only, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    done.stdout.decode("ascii")
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    assert first.stdout is not None
    assert first.stderr is not None
    first.stdout.close()
    assert first.stderr.read() == b""
    first.stderr.close()
    assert first.wait(60) == 0
