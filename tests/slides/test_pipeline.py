"""Workers that die, storage that is full, storage that is an object store."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pyarrow.fs as pafs
import pytest
import ray
from fsspec.implementations.local import LocalFileSystem
from ray import cloudpickle

from raysweep.errors import WorkError
from raysweep.slides import pipeline
from raysweep.slides.pipeline import Cutting, Limits, SlideTask, read_slides_into
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.entries import SlideEntry
from raysweep.storage import Storage

from . import slidemaker
from .slidemaker import tissue, write_slide

pytestmark = pytest.mark.usefixtures("ray_session")
SPEC = PatchSetSpec(slides="x", um=32, px=32)


def cutting(spec: PatchSetSpec = SPEC, **limits) -> Cutting:
    return Cutting(spec, (), 0, False, Limits(**limits))


class Objects(pafs.FSSpecHandler):
    """Object storage: no folder has to be made, and a file appears when its stream is closed.

    Writing the first cut of `poison` kills the process, `times` times.
    """

    def __init__(self, poison: str = "", times: int = 0, tally: str = "") -> None:
        super().__init__(LocalFileSystem(auto_mkdir=True))
        self.poison, self.times, self.tally = poison, times, tally

    def __reduce__(self):
        return Objects, (self.poison, self.times, self.tally)

    def open_output_stream(self, path, metadata):
        if self.poison and f"{self.poison}/cut-00000" in path:
            tally = Path(self.tally)
            died = tally.stat().st_size if tally.exists() else 0
            if died < self.times:
                tally.write_text("." * (died + 1))
                os.kill(os.getpid(), signal.SIGKILL)
        return super().open_output_stream(path, metadata)


@pytest.fixture(scope="module", autouse=True)
def _by_value():
    """Workers do not see the tests' folder."""
    import sys

    for module in (sys.modules[__name__], slidemaker):
        cloudpickle.register_pickle_by_value(module)
    yield
    for module in (sys.modules[__name__], slidemaker):
        cloudpickle.unregister_pickle_by_value(module)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory) -> list[SlideTask]:
    folder = tmp_path_factory.mktemp("wsi")
    paths = [write_slide(folder / f"{name}.svs", tissue(320, 256, seed)) for seed, name in enumerate("abc")]
    return [SlideTask(SlideEntry(path.stem, str(path)), f"of-{path.stem}") for path in paths]


def read(spool: Storage, tasks: list[SlideTask], *, one_pass: bool = False) -> dict[tuple[str, int], dict]:
    tasks = [replace(task, one_pass=one_pass) for task in tasks]
    results = list(read_slides_into(spool, tasks, cutting(), workers=None, tell=print))
    found = {(result["slide"], result["cut"]): result for result in results}
    assert len(found) == len(results)
    return found


def test_object_storage_gets_the_same_files(tasks, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "_WAVE", 2)  # so there are two of them
    monkeypatch.setattr(pipeline, "_SLIDES_PER_CPU", 0)
    plain, objects = Storage.open(tmp_path / "plain"), Storage(pafs.PyFileSystem(Objects()), str(tmp_path / "objects"))
    assert not objects.is_local
    results = read(plain, tasks, one_pass=True)  # which changes nothing
    timeless = [{**result, "seconds": 0} for result in results.values()]
    assert sorted([{**r, "seconds": 0} for r in read(objects, tasks).values()], key=str) == sorted(timeless, key=str)
    for task in tasks:
        cut, overlay = plain.names(task.folder)
        assert overlay == "overlay.jpg"
        assert cut.startswith("cut-00000-")
        assert objects.names(task.folder) == [cut, overlay]
        for name in plain.names(task.folder):
            assert objects.read_bytes(task.folder, name) == plain.read_bytes(task.folder, name)


@pytest.mark.parametrize("one_pass", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_slide_that_always_kills_its_reader_fails_alone(tasks, tmp_path, one_pass):
    tally = tmp_path / "tally"
    deadly = Storage(pafs.PyFileSystem(Objects("of-b", 99, str(tally))), str(tmp_path / "spool"))
    results = read(deadly, tasks, one_pass=one_pass)
    assert results["b", 0]["error"] == "the process that read this slide died 3 times"
    assert tally.read_text() == "..."
    assert {name: results[name, 0]["patches"] for name in "abc"} == {"a": 20, "b": 0, "c": 20}


def test_storage_that_cannot_be_written_is_nobodys_slide(tasks, tmp_path):
    (tmp_path / "spool").write_text("a file where the folder should be")
    with pytest.raises(WorkError, match=r"^tiling stopped: .*spool.* cannot be written"):
        read(Storage.open(tmp_path / "spool"), tasks)


@pytest.mark.slow
def test_a_large_slide_spreads_over_tasks(tmp_path):
    path = write_slide(tmp_path / "big.svs", tissue(2048, 1024))
    spec = PatchSetSpec(slides="x", um=32, px=64, stride=0.5)
    task = SlideTask(SlideEntry("big", str(path)), "of-big")
    spool = Storage(pafs.PyFileSystem(Noted()), str(tmp_path / "spool"))
    results = list(read_slides_into(spool, [task], cutting(spec, cut_mpx=1), workers=None, tell=print))
    cuts = -(-63 * 31 // 256)
    assert sorted(result["cut"] for result in results) == list(range(len(results)))
    assert len(results) >= cuts
    assert sum(result["patches"] for result in results) == 63 * 31
    wrote = {Path(name).suffix for name in os.listdir(tmp_path / "spool" / "tasks")}
    assert len(wrote) == 1 + -(-len(results) // 2)  # the survey's overlay, and two cuts a task


class Noted(Objects):
    """Notes which Ray task wrote a file."""

    def __reduce__(self):
        return Noted, ()

    def open_output_stream(self, path, metadata):
        folder = Path(path).parents[1] / "tasks"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{Path(path).stem}.{ray.get_runtime_context().get_task_id()}").touch()
        return super().open_output_stream(path, metadata)
