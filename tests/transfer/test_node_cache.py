"""Decoded samples: once on a machine, readable by all processes, gone when nobody uses them."""

import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil
import pytest

from raysweep.local_path import own_temporary
from raysweep.transfer.node_cache import NodeCache, remove_unused

MB = 2**20


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The caches' folder, of this test alone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return own_temporary("decoded")


def _record(number: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(number)
    return {"image": rng.integers(0, 255, (9, 7, 3)).astype(np.uint8), "mask": rng.integers(0, 9, (9, 7), np.int32),
            "height": np.asarray(number)}  # fmt: skip


def _equal(found: dict[str, np.ndarray] | None, wanted: dict[str, np.ndarray]) -> None:
    assert found is not None
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_what_one_puts_all_get() -> None:
    one, two = NodeCache("a", limit=MB), NodeCache("a", limit=MB)
    assert two.get(3) is None
    one.put(3, _record(3))
    two.put(0, _record(0))
    two.put(3, _record(4))  # it is there already
    for cache in (one, two):
        _equal(cache.get(3), _record(3))
        _equal(cache.get(0), _record(0))
        assert cache.get(1) is None
    assert NodeCache("b", limit=MB).get(3) is None
    image = one.get(3)["image"]  # type: ignore[index]
    assert not image.flags.writeable
    del one, two
    np.testing.assert_array_equal(image, _record(3)["image"])  # it outlives the files


def test_no_more_is_kept_than_the_limit() -> None:
    cache = NodeCache("a", limit=2 * 4096)
    block = {"block": np.arange(3000, dtype=np.uint8)}
    for number in range(4):
        cache.put(number, block)
    assert [cache.get(number) is not None for number in range(4)] == [True, True, False, False]


def test_the_files_go_with_the_last_that_uses_them(home: Path) -> None:
    one, two = NodeCache("a", limit=MB), NodeCache("a", limit=MB)
    one.put(0, _record(0))
    del one
    _equal(two.get(0), _record(0))
    remove_unused()
    assert (home / "a").is_dir()
    del two
    assert list(home.iterdir()) == []
    assert NodeCache("a", limit=MB).get(0) is None


def _put_and_die(folder: str) -> None:
    tempfile.tempdir = folder
    cache = NodeCache("a", limit=MB)
    cache.put(0, _record(0))
    os._exit(9)  # as a killed process, which clears nothing up


def test_what_a_killed_process_left_is_removed(home: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_put_and_die, args=(str(home.parent),))
    process.start()
    process.join()
    assert (home / "a" / "data").exists()
    cache = NodeCache("b", limit=MB)
    assert [folder.name for folder in home.iterdir()] == ["b"]
    assert cache.get(0) is None


def _touch(folder: str, results, done) -> None:
    tempfile.tempdir = folder
    cache = NodeCache("a", limit=64 * MB)
    before = psutil.Process().memory_full_info().pss
    kept = [cache.get(number) for number in range(8)]
    total = sum(int(record["block"][::512].sum()) for record in kept if record)  # every page of it
    results.put((total, psutil.Process().memory_full_info().pss - before))
    done.wait(60)


@pytest.mark.skipif(sys.platform != "linux", reason="the proportional share of memory is Linux's to tell")
def test_processes_hold_it_once_together(home: Path) -> None:
    cache = NodeCache("a", limit=64 * MB)
    for number in range(8):
        cache.put(number, {"block": np.full(4 * MB, number, np.uint8)})
    context = multiprocessing.get_context("fork")
    results, done = context.Queue(), context.Event()
    shares = []
    processes = [context.Process(target=_touch, args=(str(home.parent), results, done)) for _ in range(3)]
    for process in processes:
        process.start()
        total, share = results.get(timeout=60)
        assert total == sum(range(8)) * 4 * MB // 512
        shares.append(share)
    done.set()
    for process in processes:
        process.join()
    assert shares[0] > 25 * MB  # alone it is charged for all 32
    assert shares[1] < 20 * MB  # a half
    assert shares[2] < 14 * MB  # a third
