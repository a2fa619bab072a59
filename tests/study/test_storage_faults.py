"""Whatever goes wrong with a study's storage: what passes is ridden out, what lasts ends in one sentence, and the same
command goes on later. The end is that of an undisturbed run. Each case prints a line of a table, last so (two cores,
load 5 to 10):

| what | how much | then |
|---|---|---|
| 500; connections cut in the middle; half an object | 250 of 2,000 requests, in one run | ends with equal results |
| writes that are cut off, or done and their answer lost | 59 requests of the same run | ends with equal results |
| 503 for 30 s in tiling, again in searching | 399 requests | ends with equal results |
| nobody listens for 20 s in features; 500 for 20 s in finals | 288 requests | ends with equal results |
| answers after 4 s, for 30 s, in pretraining | 15 requests | ends with equal results |
| 403, 507, 503 without end, nobody listens | all requests, or all writes, from a stage on | one sentence, 1; goes on |
| a disk without room, a folder that is read-only | from a stage on | one sentence, 1; goes on |
"""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread

import pytest

from raysweep.storage import Storage
from tests.faulty_bucket import Ask, Fault, FaultyBucket, serve_faulty_bucket
from tests.study.mini import SMALL, results, write_mini

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

# What is written first in each stage, in a bucket; and on a disk.
_STAGES = {
    "tiling": r"/spool/",
    "pretraining": r"/checkpoints/supervised/.*/resume/",
    "features": r"/features/",
    "searching": r"/journal/",
    "finals": r"/predictions/",
    "reporting": r"/results\.parquet",
}
_ON_DISK = {"pretraining": "checkpoints/supervised/*/resume/*", "searching": "cells/*/*/*/*/*/*/journal/*"}


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """The results of a run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("calm")
    write_mini(folder, **SMALL)
    code, said = _run(folder)
    assert code == 3, said  # of the mini study one slide has no file
    return results(folder)


@pytest.fixture
def bucket() -> Iterator[FaultyBucket]:
    with serve_faulty_bucket() as served:
        yield served


def _run(folder: Path, storage: str = "", seconds: float = 800) -> tuple[int, str]:
    """`raysweep run`, as a shell starts it: its exit code and what it said."""
    env = {key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "RAY_TMPDIR")}
    words = [sys.executable, "-m", "raysweep.cli", "run", str(folder / "mini.yaml")]
    words += [f"storage={storage}"] if storage else []
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, timeout=seconds)
    return done.returncode, done.stdout


def _rows(bucket: FaultyBucket) -> list[dict]:
    table = Storage.open(bucket.behind.address("runs")).at("mini").read_table("results.parquet")
    return table.drop_columns([c for c in table.column_names if c.endswith("_seconds")]).to_pylist()


_GETS, _WRITES = ("GET",), ("PUT", "POST", "DELETE")
_NOW_AND_THEN = {
    "a connection cut in the middle of an answer": (Fault(cut="half"), _GETS),
    "an object of which half comes": (Fault(truncated=True), _GETS),
    "a write that is done, and its answer lost": (Fault(cut="answered"), _WRITES),
    "a write that is cut off": (Fault(cut="asked"), _WRITES),
    "500": (Fault(500), (*_GETS, *_WRITES, "HEAD")),
}
_FOR_A_WHILE = {  # each from the first write of a stage on
    "503 for 30 s": ("tiling", 30, Fault(503)),
    "answers after 4 s, for 30 s": ("pretraining", 30, Fault(wait_seconds=4)),
    "nobody listens for 20 s": ("features", 20, Fault(cut="asked")),
    "503 for 30 s again": ("searching", 30, Fault(503)),
    "500 for 20 s": ("finals", 20, Fault(500)),
}
_FOR_GOOD = {  # of all writes, or of all requests; each run goes on from the one before
    "nothing may be read or written (403)": ("tiling", Fault(403), True),
    "writes are refused (403)": ("pretraining", Fault(403), False),
    "the store is full (507)": ("searching", Fault(507), False),
    "503 without end": ("finals", Fault(503), True),
    "nobody listens": ("reporting", Fault(cut="asked"), True),
}


class _NowAndThen:
    """One of eight requests suffers, each time in another of the ways that there are for it."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()
        self._lock = Lock()

    def __call__(self, ask: Ask) -> Fault | None:
        with self._lock:
            self._asked[ask.method] += 1
            if self._asked[ask.method] % 8:
                return None
            what = min(
                (w for w, (_, methods) in _NOW_AND_THEN.items() if ask.method in methods), key=self.seen.__getitem__
            )
            self.seen[what] += 1
            return _NOW_AND_THEN[what][0]


class _ForAWhile:
    """All requests suffer for a time, from the first write of a stage on."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self._end, self._what = 0.0, ""

    def __call__(self, ask: Ask) -> Fault | None:
        now = time.monotonic()
        if now > self._end + 5:  # between two of them there is a while without
            for what, (stage, seconds, _) in _FOR_A_WHILE.items():
                if what not in self.seen and ask.method in _WRITES and re.search(_STAGES[stage], ask.path):
                    self._end, self._what = now + seconds, what
                    break
        if now > self._end:
            return None
        self.seen[self._what] += 1
        return _FOR_A_WHILE[self._what][2]


def _for_good(stage: str, fault: Fault, all_requests: bool) -> Callable[[Ask], Fault | None]:
    """All writes, or all requests, suffer from a stage's first write on."""
    begun = [False]

    def rule(ask: Ask) -> Fault | None:
        begun[0] |= ask.method in _WRITES and bool(re.search(_STAGES[stage], ask.path))
        return fault if begun[0] and (all_requests or ask.method in _WRITES) else None

    return rule


def _differences(rows: list[dict], calm: list[dict]) -> list[str]:
    """What is not as in a run that nothing disturbed, in words that an assertion can show."""
    found = [f"{len(rows)} rows for {len(calm)}"] if len(rows) != len(calm) else []
    for row, other in zip(rows, calm, strict=False):
        cell = "/".join(str(row[key]) for key in ("checkpoint", "task", "protocol", "fraction", "repeat"))
        found += [f"{cell}: {key} {row[key]} for {other[key]}" for key in other if row[key] != other[key]]
    return found


def _told(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


@pytest.mark.parametrize(("rule_of", "kinds"), [(_NowAndThen, _NOW_AND_THEN), (_ForAWhile, _FOR_A_WHILE)])
def test_what_passes_is_ridden_out(
    rule_of: type[_NowAndThen] | type[_ForAWhile],
    kinds: dict,
    tmp_path: Path,
    calm: list[dict],
    bucket: FaultyBucket,
) -> None:
    write_mini(tmp_path, **SMALL)
    bucket.rule = rule = rule_of()
    began = time.monotonic()
    code, said = _run(tmp_path, bucket.front.address("runs"))
    for what, n in rule.seen.items():
        _told(what, f"{n} requests", f"exit {code} after {time.monotonic() - began:.0f} s")
    assert code == 3, said
    assert rule.seen.keys() == kinds.keys()
    assert _differences(_rows(bucket), calm) == []


def test_what_lasts_ends_in_one_sentence(tmp_path: Path, calm: list[dict], bucket: FaultyBucket) -> None:
    write_mini(tmp_path, **SMALL)
    ends = {}
    for what, (stage, fault, all_requests) in _FOR_GOOD.items():
        bucket.rule = _for_good(stage, fault, all_requests)
        began = time.monotonic()
        code, said = _run(tmp_path, bucket.front.address("runs"))
        ends[what] = (code, said)
        _told(what, f"from {stage} on", f"exit {code} after {time.monotonic() - began:.0f} s: {said.splitlines()[-1]}")
        bucket.rule = lambda ask: None
    for code, said in ends.values():
        assert code == 1, said
        assert said.splitlines()[-1].startswith("raysweep: "), said
        assert "unexpected" not in said
        assert "Traceback" not in said
    code, said = _run(tmp_path, bucket.front.address("runs"))
    assert code == 3, said
    assert _differences(_rows(bucket), calm) == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """The folder of the study's storage, a file system of its own."""
    place = tmp_path / "runs"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=256m", "none", str(place)]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def _fill(disk: Path) -> None:
    with suppress(OSError), open(disk / "filler", "wb") as file:
        while True:
            file.write(bytes(2**16))


def _remount(disk: Path, how: str) -> None:
    while subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], capture_output=True).returncode:
        time.sleep(0.01)  # somebody has a file open for writing


def test_a_disk_that_is_full_or_read_only_half_way(disk: Path, tmp_path: Path, calm: list[dict]) -> None:
    write_mini(tmp_path, **SMALL)
    cases: dict[str, tuple[str, Callable[[], None], Callable[[], None]]] = {
        "a disk without room": ("pretraining", lambda: _fill(disk), lambda: (disk / "filler").unlink()),
        "a folder that is read-only": ("searching", lambda: _remount(disk, "ro"), lambda: _remount(disk, "rw")),
    }
    for what, (stage, breaks, mends) in cases.items():
        ended = Event()

        def watch(stage: str = stage, breaks: Callable[[], None] = breaks, ended: Event = ended) -> None:
            while not ended.wait(0.02):
                if any((disk / "mini").glob(_ON_DISK[stage])):
                    return breaks()

        watcher = Thread(target=watch)
        watcher.start()
        began = time.monotonic()
        code, said = _run(tmp_path)
        ended.set()
        watcher.join()
        _told(what, f"from {stage} on", f"exit {code} after {time.monotonic() - began:.0f} s: {said.splitlines()[-1]}")
        assert code == 1, said
        assert said.splitlines()[-1].startswith("raysweep: "), said
        assert "unexpected" not in said
        assert "Traceback" not in said
        mends()
    code, said = _run(tmp_path)
    assert code == 3, said
    assert _differences(results(tmp_path), calm) == []
