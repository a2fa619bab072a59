"""Two sides of a comparison, each in processes of its own, in turn; what their ratios say; the command around them."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

_ROOT = Path(__file__).parents[2]
_LOOK_SECONDS = 0.02
READY = "ready"  # what a side prints when its imports are done: its memory counts from there


class Given(argparse.Namespace):
    """What a benchmark is asked for: pairs, how short, and a folder that is gone when it ends."""

    pairs: int
    short: bool
    home: Path


def run_cases(
    doc: str | None,
    given: Given,
    cases: Mapping[str, tuple[Callable[[Any], None], int]],
    sides: Mapping[str, Callable[..., dict[str, Any]]],
    options: Mapping[str, str] | None = None,
) -> None:
    """The command of a benchmark: runs the case, or the side of one, that it is given.

    `cases` are functions of what is given, with their usual number of pairs; `options` further ones of the command,
    with what their values are called. A side gets its keys as JSON and prints its answer as JSON.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="?", choices=cases)
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--short", action="store_true")
    for name, value in (options or {}).items():
        parser.add_argument(name, metavar=value)
    parser.add_argument("--side", nargs=2, metavar=("SIDE", "KEYS"), help=argparse.SUPPRESS)
    parser.parse_args(namespace=given)
    if given.side:
        name, keys = given.side
        print(json.dumps(sides[name](**json.loads(keys))))
        return
    if not given.case:
        parser.error("name a case")
    run, pairs = cases[given.case]
    given.pairs = given.pairs or (1 if given.short else pairs)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        given.home = Path(home)
        os.environ["RAY_TMPDIR"] = home  # else a Ray that somebody has started on this machine would be joined
        run(given)


def environment(omp: int) -> dict[str, str]:
    """What every process of a comparison is given; `omp` threads of OpenMP."""
    return {
        **os.environ, "OMP_NUM_THREADS": str(omp), "PYTHONPATH": str(_ROOT), "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_worker_niceness": "0",  # Ray's 15 would let whatever else runs slow down its side alone
    }  # fmt: skip


def run_side(name: str, *, omp: int = 1, watch: bool = False, **given: Any) -> dict[str, Any]:
    """What a side of `pretraining_sides` or `pretraining_peers` answers, from a fresh process."""
    return run_command([sys.executable, "-m", "tests.benchmarks.pretraining", "--side", name, json.dumps(given)],
                       omp=omp, watch=watch)  # fmt: skip


def run_command(command: Sequence[str], *, omp: int = 1, watch: bool = False) -> dict[str, Any]:
    """The JSON in the last line that a command prints; with `watch` its peak memory is added as `mib`.

    That is the private and shared memory of all its processes beyond what they had when they were ready (files that
    are mapped are left out; what processes share is counted once).
    """
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=environment(omp), cwd=_ROOT, **pipes)
    assert process.stdout
    assert process.stderr
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr))  # type: ignore[arg-type]
    reader.start()
    peak, last = _Peak(process.pid, ("Pss_Anon:", "Pss_Shmem:")), "{}"
    for line in process.stdout:
        if line.strip() == READY:
            if watch:
                peak.start()
        elif line.startswith("{"):
            last = line
    peak.stop()
    reader.join()
    if process.wait():
        raise SystemExit("".join(errors[-60:]))
    return {"mib": peak.mib, **json.loads(last)}


class _Peak:
    def __init__(self, pid: int, counted: tuple[str, ...]) -> None:
        self._pid, self._counted, self._ended, self.mib = pid, counted, threading.Event(), 0.0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._first = self._now()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread:
            self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            self.mib = max(self.mib, self._now() - self._first)

    def _now(self) -> float:
        total = 0
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self._pid)
            for process in (parent, *parent.children(recursive=True)):
                with suppress(OSError):
                    lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
                    fields = [line.split() for line in lines]
                    total += sum(int(f[1]) for f in fields if f[0] in self._counted)
        return total / 1024


def in_turn(pairs: int, *sides: Callable[[], dict[str, Any]]) -> list[tuple[dict[str, Any], ...]]:
    """Each side once for every pair; who is first changes from pair to pair."""
    made = []
    for number in range(pairs):
        order = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
        answers = {at: sides[at]() for at in order}
        made.append(tuple(answers[at] for at in range(len(sides))))
        said = " | ".join(_short(answers[at]) for at in range(len(sides)))  # what is left of a run that is stopped
        print(f"  pair {number + 1} of {pairs}: {said}", file=sys.stderr, flush=True)
    return made


def _short(answer: dict[str, Any]) -> str:
    """The figures of a side in one line, of a list its median."""
    numbers = {name: statistics.median(value) if isinstance(value, list) and value else value
               for name, value in answer.items()
               if isinstance(value, (int, float)) or (isinstance(value, list) and all(
                   isinstance(one, (int, float)) for one in value))}  # fmt: skip
    return ", ".join(f"{name} {value:.4g}" for name, value in numbers.items() if isinstance(value, (int, float)))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Of the median, at least 95 %: between the k-th smallest and the k-th largest; of fewer than 6, their range."""
    from scipy.stats import binom

    k = max(1, int(binom.ppf(0.025, len(values), 0.5)))  # P(fewer than k below the median) <= 2.5 %
    ordered = sorted(values)
    return ordered[k - 1], ordered[-k]


def tell(what: str, values: Sequence[float], target: float, *, most: bool = False, unit: str = "") -> None:
    """Print the median of the pairs, its interval, and whether it is at least (`most`: at most) the target."""
    middle, (low, high) = statistics.median(values), interval(values)
    met = middle <= target if most else middle >= target
    spread = f"{low:.3f} to {high:.3f}" + (", too few for 95 %" if len(values) < 6 else "")
    verdict = f"target {'<=' if most else '>='} {target:g}{unit}, {'met' if met else 'MISSED'}"
    print(f"  {what}: {middle:.3f}{unit} ({spread}; {len(values)} pairs; {verdict})", flush=True)
