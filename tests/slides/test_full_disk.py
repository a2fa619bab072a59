"""Storage that has no room left."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from raysweep.errors import WorkError
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.entries import read_slides
from raysweep.storage import Storage

from .making import Made, make
from .slidemaker import tissue, write_slide

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("a disk that is full: only root may mount one")
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a disk that is full: none can be mounted here ({mounted.stderr.strip()})")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


SPEC = PatchSetSpec(slides="*.svs", um=16, px=32)


@pytest.fixture(scope="module")
def calm(tmp_path_factory, ray_session) -> Made:
    """Where there is room."""
    folder = tmp_path_factory.mktemp("wsi")
    for seed in range(2):
        write_slide(folder / f"s{seed}.svs", tissue(800, 800, seed), compression="jpeg", downsamples=(4,))
    return make(SPEC, read_slides(SPEC, folder), Storage.open(folder / "calm"))


@pytest.mark.parametrize(("full", "doing"), [("spool", "tiling"), ("shards", "writing shards")])
def test_a_full_disk_stops_the_run_and_the_next_one_goes_on(small_disk, tmp_path, calm, full, doing):
    out = Storage.open(small_disk / "out" if full == "shards" else tmp_path / "out")
    spool = Storage.open(small_disk / "spool" if full == "spool" else tmp_path / "spool")
    room = sum(map(len, calm.shards.values())) // 2  # pieces take as much as shards
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(4 * 2**20 - room))
    message = rf"^{doing} stopped: {small_disk}/.*\.(arrow|jpg|parquet): cannot be written \(No space left on device\)$"
    with pytest.raises(WorkError, match=message):
        make(SPEC, calm.slides, out, spool)
    assert not list(Path(out.root).rglob("manifest.json"))
    ballast.unlink()
    again = make(SPEC, calm.slides, out, spool)
    assert again.shards == calm.shards
    assert again.table.drop_columns(["tile_seconds"]).equals(calm.table.drop_columns(["tile_seconds"]))
    assert not list(small_disk.rglob(".tmp-*"))
