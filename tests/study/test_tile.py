from pathlib import Path

import pytest

from raysweep.demo.slides import write_slides
from raysweep.errors import RequestError
from raysweep.patches.read import PatchSet
from raysweep.progress import Progress
from raysweep.storage import Storage
from raysweep.study.tile import tile_slides

_QUIET = Progress(quiet=True)


def test_slides_become_a_patch_set_without_a_study(tmp_path: Path, ray_session: None) -> None:
    table = write_slides(tmp_path / "slides", n=2, seed=0)
    broken = tmp_path / "broken.svs"
    broken.write_text("this is no slide")
    out = tmp_path / "patches"
    header, rows, failed = tile_slides([str(table), str(broken)], um=128, px=32, out=out, workers=None, progress=_QUIET)
    assert failed
    found = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert found["broken"]["status"] == "failed"
    assert "not a slide" in found["broken"]["reason"]
    patches = PatchSet(Storage.open(out / (out / "current").read_text().strip()))
    assert patches.n_patches == sum(int(row["n_patches"] or 0) for row in found.values()) > 0
    assert patches.mpp == 4.0
    again = tile_slides([str(broken), str(table)], um=128, px=32, out=out, workers=None, progress=_QUIET)
    assert again == (header, rows, failed)


def test_two_slides_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for path in (tmp_path / "s.svs", tmp_path / "a/s.svs"):
        path.write_text("")
    sources = [str(tmp_path / "s.svs"), str(tmp_path / "a/s.svs")]
    with pytest.raises(RequestError, match="two slides are called s; give them as a slide table"):
        tile_slides(sources, um=64, px=64, out=tmp_path / "out", workers=None, progress=_QUIET)
    assert not (tmp_path / "out").exists()
