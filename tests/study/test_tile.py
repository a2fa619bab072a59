import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from raysweep.cli import main
from raysweep.errors import RequestError
from raysweep.patches.read import PatchSet
from raysweep.progress import Progress, Stage
from raysweep.storage import Storage
from raysweep.study.tile import tile_slides
from tests.drawn import copy_slides
from tests.slides.slidemaker import glass, tissue, write_slide

_QUIET = Progress(quiet=True)


def test_slides_become_a_patch_set_without_a_study(tmp_path: Path, ray_session: None) -> None:
    table = copy_slides(tmp_path / "slides", n=2)
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
    with pytest.raises(
        RequestError, match=r"slides: 2 slides are called s \(.* own name in the column `slide` of a slide table"
    ):
        tile_slides(sources, um=64, px=64, out=tmp_path / "out", workers=None, progress=_QUIET)
    assert not (tmp_path / "out").exists()


def test_a_patient_of_two_sources_is_in_one_split(tmp_path: Path) -> None:
    for name, split in (("a", "train"), ("b", "test")):
        (tmp_path / f"{name}.csv").write_text(f"path,patient,split\n{name}.svs,p,{split}\n")
    sources = [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
    with pytest.raises(RequestError, match="slides: patient p is in the splits train and test"):
        tile_slides(sources, um=64, px=64, out=tmp_path / "out", workers=None, progress=_QUIET)


class _Noting(Progress):
    """Keeps the stages that it shows."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.stages: dict[str, Stage] = {}

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str) -> Iterator[Stage]:
        with super().stage(name, total, unit) as stage:
            self.stages[name] = stage
            yield stage


@pytest.mark.usefixtures("ray_session")
def test_every_stage_knows_how_much_there_is_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[float] = []

    class Gauge:
        def __init__(self, *about: object) -> None:
            assert about[0] == "raysweep_tile_left"

        def set(self, value: float, tags: dict[str, str]) -> None:
            left.append(value)

    monkeypatch.setattr("raysweep.slides.meter.Gauge", Gauge)
    for name in "ab":
        write_slide(tmp_path / f"{name}.svs", tissue(128, 128), mpp=0.5)
    (tmp_path / "gone.svs").symlink_to("nowhere")
    first, second = _Noting(), _Noting()
    for progress, sources in ((first, ["a.svs", "gone.svs"]), (second, ["a.svs", "b.svs", "gone.svs"])):
        left.clear()
        paths = [str(tmp_path / source) for source in sources]
        tile_slides(paths, um=16, px=32, out=tmp_path / "out", workers=None, progress=progress)
        tiling, shuffle = progress.stages["tile out"], progress.stages["shuffle out"]
        assert (tiling.total, tiling.done, tiling.counts["failed"]) == (len(sources), len(sources), 1)
        assert (shuffle.total, shuffle.done) == (1, 1)
        assert (left[0], left[-1]) == (len(sources), 0)
        assert left == sorted(left, reverse=True)
    assert first.stages["tile out"].known == 1  # the file that is not there took no time
    assert second.stages["tile out"].known == 2  # nor did the slide that is in the spool


def _tile(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["raysweep", "tile", *arguments, "--out", "out"])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


@pytest.mark.usefixtures("ray_session")
def test_keys_of_a_patch_set_a_folder_and_a_file_that_looks_like_a_glob(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    write_slide(tmp_path / "A [1].tif", tissue(128, 128), mpp=None)
    write_slide(tmp_path / "set" / "b.svs", tissue(128, 128), mpp=0.5)
    (tmp_path / "set" / "note.txt").touch()
    keys = [
        "tissue=all",
        "stride=0.5",
        "slide_mpp=0.5",
        "min_tissue=0.3",
        "tissue.method=hsv",
        "um=32",
        "split.val=0.5",
    ]
    assert _tile(monkeypatch, "A [1].tif", "set", "labels.source=slide", *keys, "--px", "32") == 0
    folder = Storage.open("out").at((tmp_path / "out/current").read_text().strip())
    config = folder.read_json("manifest.json")["config"]
    assert (config["um"], config["px"], config["stride"], config["slide_mpp"]) == (32, 32, 0.5, 0.5)
    assert (config["min_tissue"], config["tissue"]["method"], config["split"]) == (0.3, "hsv", {"val": 0.5})
    rows = folder.read_table("slides.parquet").to_pylist()
    assert [(row["slide"], row["mpp_source"]) for row in rows] == [("A [1]", "study"), ("b", "metadata")]
    assert sorted(row["split"] for row in rows) == ["train", "val"]


@pytest.mark.usefixtures("ray_session")
def test_slides_that_all_come_to_nothing_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    for name in ("done", "text"):
        (tmp_path / "set" / f"{name}.svs").write_text("this is no slide")
    write_slide(tmp_path / "set" / "bare.svs", glass(128, 128))
    for _ in range(2):  # nothing is kept that would hide it the next time
        assert _tile(monkeypatch, "set", "--um", "32", "--px", "32") == 1
        said = capsys.readouterr()
        lines = {line.split()[0]: line for line in said.out.splitlines() if line.strip()}
        assert "failed" in lines["done"]
        assert "failed" in lines["text"]
        assert "not a slide or picture that can be read" in lines["text"]
        assert "no tissue" in lines["bare"]
        assert said.err.splitlines()[-1] == "raysweep: no slide could be tiled: there is no patch set"
    assert not list((tmp_path / "out").glob("*/manifest.json"))


@pytest.mark.usefixtures("ray_session")
def test_odd_names_of_files_fail_alone_and_long_names_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_slide(tmp_path / "good.svs", tissue(64, 64), mpp=0.5)
    long = ["\u00fc" * 100 + end for end in "ab"]  # 600 bytes as %C3%BC
    table = ["slide,path", "nul,n\0l.svs", f"{long[0]},good.svs", f"{long[1]},good.svs"]
    (tmp_path / "slides.csv").write_text("\n".join(table), encoding="utf-8")
    odd = tmp_path / "odd"
    odd.mkdir()
    (tmp_path / "good.svs").rename(odd / os.fsdecode(b"odd\xff.svs"))
    write_slide(tmp_path / "good.svs", tissue(64, 64), mpp=0.5)
    assert _tile(monkeypatch, "odd", "slides.csv", "--um", "16", "--px", "32") == 3
    folder = Storage.open("out").at((tmp_path / "out/current").read_text().strip())
    rows = {row["slide"]: row for row in folder.read_table("slides.parquet").to_pylist()}
    assert {name: row["status"] for name, row in rows.items()} == {
        "nul": "failed", "odd\\udcff": "failed", long[0]: "done", long[1]: "done"
    }  # fmt: skip
    assert rows["odd\\udcff"]["reason"] == "the file is missing or cannot be read: odd/odd\\udcff.svs"
    overlays = {rows[name]["overlay"] for name in long}
    assert {f"overlays/{name}" for name in folder.names("overlays")} == overlays
    assert len(overlays) == 2


def test_keys_on_the_command_line_are_read_as_those_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slide = write_slide(tmp_path / "a.tif", glass(64, 64))
    (tmp_path / "slides.csv").write_text(f"slide,path,ring,kept\na,{slide},010,no\nb,gone.tif,8,yes\n")
    monkeypatch.setattr("raysweep.study.tile.to_tile", lambda *_: pytest.fail("its slide was found"))
    with pytest.raises(RequestError, match="the key a is given twice"):
        _rows(tmp_path, "where={a: 1, a: 2}")
    with pytest.raises(pytest.fail.Exception, match="its slide was found"):
        _rows(tmp_path, "where.ring=010", "where.kept=no")
    with pytest.raises(RequestError, match="no slide is left after the filters"):
        _rows(tmp_path, "where.ring=10")


def _rows(folder: Path, *keys: str) -> object:
    sources = [str(folder / "slides.csv"), *keys]
    return tile_slides(sources, um=8, px=16, out=folder / "out", workers=1, progress=Progress())
