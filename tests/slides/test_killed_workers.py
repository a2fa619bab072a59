"""Worker processes that are killed by their process id in the middle of their work."""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from raysweep.slides.pipeline import Limits
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.entries import read_slides
from raysweep.storage import Storage

from .making import make
from .slidemaker import tissue, write_slide

pytestmark = pytest.mark.usefixtures("ray_session")


def busy_workers() -> list[psutil.Process]:
    """The worker processes of this process's Ray that are reading slides now."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if re.match(r"ray::.*_read_cuts", " ".join(process.cmdline())):
                found.append(process)
    return found


def wait_for(found: Callable[[], list]) -> list:
    until = time.monotonic() + 60
    while not (what := found()):
        assert time.monotonic() < until, "nothing happened for a minute"
        time.sleep(0.02)
    return what


@contextlib.contextmanager
def in_background(work: Callable[[], None]) -> Iterator[None]:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert not errors, errors


@pytest.mark.slow
def test_workers_killed_by_pid_leave_no_trace(tmp_path):
    for seed in range(2):
        write_slide(tmp_path / f"s{seed}.svs", tissue(1600, 1600, seed), compression="jpeg", downsamples=(4,))
    spec = PatchSetSpec(slides="*.svs", um=16, px=32)
    slides, limits = read_slides(spec, tmp_path), Limits(cut_mpx=1)
    calm = make(spec, slides, Storage.open(tmp_path / "calm"), limits=limits)
    killed: list[int] = []

    def kill() -> None:
        """Two different workers, each in the midst of reading."""
        for _ in range(2):
            victim = wait_for(lambda: [p for p in busy_workers() if p.pid not in killed])[0]
            victim.kill()
            killed.append(victim.pid)

    with in_background(kill):
        rough = make(spec, slides, Storage.open(tmp_path / "rough"), limits=limits)
    assert len(killed) == 2
    assert not any(psutil.pid_exists(pid) for pid in killed)
    assert calm.table["n_patches"].to_pylist() == [2500] * 2
    assert rough.shards == calm.shards
    assert rough.table.drop_columns(["tile_seconds"]).equals(calm.table.drop_columns(["tile_seconds"]))
