"""Ctrl-C and SIGTERM, in processes that are started as a shell, a script or a scheduler starts them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from raysweep.stopping import STOPPED, Stopped, exit_code, not_now, stoppable
from tests.drawn import copy_slides

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_raises_in_the_block_whoever_else_wants_it(number: signal.Signals, code: int) -> None:
    outside = signal.getsignal(number)
    signal.signal(number, before := signal.default_int_handler)  # tests may be started with nohup

    def work() -> None:
        signal.signal(number, signal.SIG_IGN)  # as Ray, Ray Train and Ray Tune do
        os.kill(os.getpid(), number)

    with pytest.raises(Stopped), stoppable():
        work()
    assert exit_code() == code
    assert signal.getsignal(number) == before
    signal.signal(number, signal.SIG_IGN)
    assert signal.getsignal(number) == signal.SIG_IGN
    signal.signal(number, outside)


def test_what_was_started_with_nohup_outlives_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_waits_for_the_end_of_what_must_not_be_half_done() -> None:
    done = []

    def start() -> None:
        with not_now():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("first half")
            time.sleep(0.05)
            done.append("second half")
        done.append("after")

    with pytest.raises(Stopped), stoppable():
        start()
    assert done == ["first half", "second half"]


_SWALLOWS = """
import sys, time
from raysweep import stopping
stopping._TIDY_SECONDS = 0.2
with stopping.stoppable():
    while True:
        try:
            print("ready", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            pass
"""


def test_a_block_that_goes_on_is_ended() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _SWALLOWS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20)[1] == f"raysweep: {STOPPED}\n"
    assert process.returncode == 143


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "moment"),
    [(signal.SIGINT, 130, "tile out: started"), (signal.SIGTERM, 143, "tile out: started"), (signal.SIGTERM, 143, "")],
)
def test_a_command_that_was_started_with_ctrl_c_ignored_stops_with_all_it_started(
    number: signal.Signals, code: int, moment: str, tmp_path: Path
) -> None:
    table = copy_slides(tmp_path / "slides", n=4)
    command = [sys.executable, "-m", "raysweep.cli", "tile", str(table), "--um=64", "--px=32", f"--out={tmp_path}/out"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as nohup, cron and `&` in a script do
    )
    assert process.stdout
    if moment:
        assert any(moment in line for line in process.stdout)
    else:  # Ray is being started
        _wait_for(lambda: len(_group(process.pid)) > 1)
    process.send_signal(number)
    said = process.communicate(timeout=60)[0]
    assert said.endswith(f"raysweep: {STOPPED}\n")
    assert "Traceback" not in said
    assert process.returncode == code
    assert not (tmp_path / "out" / "lease.json").exists()
    _wait_for(lambda: not _group(process.pid))


def _group(leader: int) -> list[int]:
    """The processes of a group that live."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = stat.read_text().split(" ", 1)
        except OSError:  # it has ended this moment
            continue
        state, _, group = rest.rpartition(")")[2].split()[:3]
        if int(group) == leader and state != "Z":
            found.append(int(pid))
    return found


def _wait_for(what: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)
