"""kill -9 of a run in each of its stages: the next run ends with the same results."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.study.mini import SMALL, results, write_mini

_RUN = [sys.executable, "-m", "raysweep.cli", "run"]


def _begun(home: Path, pattern: str, least: int = 1) -> Callable[[], bool]:
    return lambda: len(list(home.glob(pattern))) >= least


def _told(home: Path) -> bool:
    """Some trials have ended and others have not."""
    return sum(f.read_text().count("told") for f in home.glob("cells/*/*/*/*/*/*/journal/*.jsonl")) >= 3


def _kill_when(command: list[str], ready: Callable[[], bool], log: Path) -> None:
    with open(log, "ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
        until = time.monotonic() + 200
        while not ready():
            assert process.poll() is None, f"it ended before it could be killed:\n{log.read_text()[-2000:]}"
            assert time.monotonic() < until, f"it did not get that far:\n{log.read_text()[-2000:]}"
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_killed_in_every_stage_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    calm.mkdir(), rough.mkdir()
    undisturbed = subprocess.run([*_RUN, str(write_mini(calm, **SMALL))], capture_output=True, text=True)
    assert undisturbed.returncode == 3, undisturbed.stderr

    study, home = str(write_mini(rough, **SMALL)), rough / "runs/mini"
    log = tmp_path / "log"
    moments = {
        "tiling": _begun(home, "spool/*/*"),
        "pretraining": _begun(home, "checkpoints/supervised/*/metrics.jsonl"),
        "searching": lambda: _told(home),
        "finals": _begun(home, "cells/*/*/*/*/*/*/predictions/*.parquet", 3),
        "reporting": _begun(home, "results.parquet"),
    }
    killed = []
    for stage, ready in moments.items():
        if not ready():  # a quick machine may have got that far before the last kill
            _kill_when([*_RUN, study], ready, log)
            killed.append(stage)
    assert killed[:3] == ["tiling", "pretraining", "searching"]
    assert len(killed) >= 4
    resumed = subprocess.run([*_RUN, study], capture_output=True, text=True)
    assert resumed.returncode == 3, resumed.stderr
    assert results(rough) == results(calm)
    left, right = (p / "runs/mini/patches" for p in (calm, rough))
    shards = sorted(f.relative_to(left) for f in left.rglob("*.parquet") if "shards" in f.parts)
    assert shards
    assert all((left / s).read_bytes() == (right / s).read_bytes() for s in shards)
    weights = sorted(f.relative_to(calm) for f in calm.rglob("backbone.safetensors"))
    assert len(weights) == 3
    assert all((calm / w).read_bytes() == (rough / w).read_bytes() for w in weights)
    assert not [path for path in (home / "sharing").rglob("*") if path.suffix == ".json"]
