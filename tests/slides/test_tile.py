"""Slides to a patch set, end to end on a running Ray."""

import io
import random
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysweep.errors import WorkError
from raysweep.patches.codec import decode
from raysweep.patches.read import PatchSet
from raysweep.patches.shuffle.spool import SlideSpool
from raysweep.patches.write import shard_edges
from raysweep.progress import Progress
from raysweep.randomness import stable_hash
from raysweep.slides.inputs import patch_set_inputs, spool_inputs
from raysweep.slides.outcomes import NoPatchSet
from raysweep.slides.pipeline import Limits
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.entries import SlideEntry, read_slides
from raysweep.slides.tile import tile
from raysweep.storage import Artefact, Storage

from .making import Made, make
from .slidemaker import glass, slide_with_tissue, tissue, write_slide

pytestmark = pytest.mark.usefixtures("ray_session")
SPEC = PatchSetSpec(slides="slides.csv", um=32, px=32, split={"test": 0.4})
GOOD = {"a1": "p1", "a2": "p1", "b": "p2", "c": "p3"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Four good slides of three patients and one of every kind that fails or is skipped."""
    folder = tmp_path_factory.mktemp("wsi")
    for seed, name in enumerate(GOOD):
        pixels = slide_with_tissue(640, 448, (40 + 20 * seed, 30, 600, 400), seed)
        write_slide(folder / f"{name}.svs", pixels, 0.5, compression="jpeg", downsamples=(2, 4))
    write_slide(folder / "bare.svs", glass(256, 256))
    write_slide(folder / "coarse.svs", tissue(128, 128), mpp=2.0)
    write_slide(folder / "nompp.svs", tissue(128, 128), mpp=None)
    (folder / "text.svs").write_text("this is no slide\n" * 100)
    whole = write_slide(folder / "cut.svs", tissue(512, 512), compression="jpeg").read_bytes()
    (folder / "cut.svs").write_bytes(whole[: len(whole) // 2])
    hurt = write_slide(folder / "hurt.svs", tissue(512, 512), compression="jpeg", downsamples=(8,))
    _spoil_first_tile(hurt)
    rows = [f"{name}.svs,{patient},{'tumour' if name < 'b' else 'normal'}" for name, patient in GOOD.items()]
    rows += [f"{name}.svs,," for name in ("bare", "coarse", "nompp", "text", "cut", "hurt", "absent")]
    (folder / "slides.csv").write_text("\n".join(["path,patient,label", *rows]))
    return folder


def _spoil_first_tile(path: Path) -> None:
    """The survey, which reads a coarser level, still works; reading patches does not."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        start, size = tiff.pages[0].dataoffsets[9], tiff.pages[0].databytecounts[9]
    data = bytearray(path.read_bytes())
    data[start : start + size] = bytes(size)
    path.write_bytes(data)


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory, ray_session) -> Made:
    return make(SPEC, read_slides(SPEC, folder), Storage.open(tmp_path_factory.mktemp("one")), workers=1)


def test_every_slide_ends_as_a_row(made):
    assert made.table["slide"].to_pylist() == sorted(entry.name for entry in made.slides)
    ends = {row["slide"]: (row["status"], row["reason"]) for row in made.table.to_pylist()}
    assert {name for name, (status, _) in ends.items() if status == "done"} == set(GOOD)
    assert ends["bare"] == ("skipped", "no tissue")
    assert ends["coarse"][0] == "skipped"
    assert ends["coarse"][1].startswith("too coarse: the slide has 2 um per pixel and the patches need 1,")
    assert ends["nompp"] == ("failed", "no mpp: give one in the slide table's mpp column")
    assert ends["absent"] == ("failed", "the file is missing or cannot be read: absent.svs")
    assert ends["text"][0] == ends["cut"][0] == ends["hurt"][0] == "failed"
    assert "not a slide or picture that can be read" in ends["text"][1]
    assert "pixels cannot be read" in ends["hurt"][1]


def test_a_damaged_slide_leaves_no_patch_and_others_are_complete(made):
    rows = made.rows.to_pylist()
    found = {name: sum(row["slide"] == name for row in rows) for name in {row["slide"] for row in rows}}
    assert found == {name: made.row(name)["n_patches"] for name in GOOD}
    assert all(n > 30 for n in found.values())
    assert made.row("hurt")["n_patches"] == 0
    kept = [folder for folder in made.spool.names() if made.spool.exists(folder, "slide.json")]
    assert made.spool.names() == [*kept, "kin"]  # nothing lies around of those that failed
    assert len(kept) == len(GOOD) + 2


def test_the_slide_table(made):
    row = made.row("a1")
    assert (row["path"], row["patient"], row["site"], row["label"]) == ("a1.svs", "p1", None, "tumour")
    assert (row["mpp"], row["mpp_source"], row["width"], row["height"]) == (0.5, "metadata", 640, 448)
    assert (row["level"], row["factor"]) == (1, 1.0)
    assert row["n_tissue"] == row["n_patches"]
    assert row["tissue_area_um2"] == pytest.approx(560 * 370 * 0.25, rel=0.03)
    assert row["tile_seconds"] > 0
    assert decode(made.artefact.folder.read_bytes(row["overlay"])).shape[2] == 3
    assert made.row("bare")["overlay"] is not None
    assert made.row("text")["overlay"] is None
    assert made.artefact.folder.read_table("slides.parquet").equals(made.table)


def test_rows_hold_what_the_schema_says(made):
    rows = made.rows.to_pylist()
    splits = {row["slide"]: row["split"] for row in made.table.to_pylist()}
    assert splits["a1"] == splits["a2"]
    assert {"train", "test"} == {row["split"] for row in rows}
    for row in rows:
        assert row["key"] == stable_hash(row["slide"], row["x"], row["y"], 0)
        assert (row["x"] % 64, row["y"] % 64, row["mpp"], row["source_mpp"]) == (0, 0, 1.0, 0.5)
        assert (row["patient"], row["split"]) == (GOOD[row["slide"]], splits[row["slide"]])
        assert row["label"] == (1 if row["slide"] < "b" else 0)
        assert row["tissue"] >= 0.5
        assert row["mask"] is None
        assert row["image"]["path"] == f"{row['slide']}_{row['x']}_{row['y']}.jpg"
    assert decode(rows[0]["image"]["bytes"]).shape == (32, 32, 3)
    assert len({(row["slide"], row["x"], row["y"]) for row in rows}) == len(rows)


def test_it_is_a_patch_set(made):
    patches = PatchSet(made.artefact.folder)
    assert (patches.px, patches.mpp, patches.classes) == (32, 1.0, ["normal", "tumour"])
    assert patches.sources == sorted(GOOD)
    assert patches.n_patches == made.rows.num_rows == sum(made.table["n_patches"].to_pylist())
    assert patches.fingerprint == made.artefact.fingerprint
    manifest = made.artefact.manifest()
    assert manifest["counts"] == {"slides": 11, "done": 4, "failed": 5, "skipped": 2, "patches": patches.n_patches,
                                  "shards": 1, "bytes": sum(map(len, made.shards.values()))}  # fmt: skip
    assert manifest["config"]["kernel"] == "bicubic, antialiased"
    assert manifest["config"]["chroma"] == "4:2:0"


def test_four_workers_and_another_order_write_the_same_bytes(made, folder, tmp_path):
    slides = list(made.slides)
    random.Random(3).shuffle(slides)
    other = make(SPEC, slides, Storage.open(tmp_path), workers=4)
    assert other.shards == made.shards
    drop = ["tile_seconds"]
    assert other.table.drop_columns(drop).equals(made.table.drop_columns(drop))
    assert other.artefact.fingerprint == made.artefact.fingerprint


def test_many_shards_are_filled_by_key_whatever_the_way(made, folder, tmp_path, monkeypatch):
    """Read from the spool of the first set: directly, and through ranges of shards."""
    monkeypatch.setattr("raysweep.patches.write.SHARD_PATCHES", 20)
    direct = make(SPEC, made.slides, Storage.open(tmp_path / "direct"), made.spool)
    n = len(direct.shards)
    assert n == -(-made.rows.num_rows // 20) > 5
    edges = [*map(int, shard_edges(n)), 2**64]
    expected = sorted(made.rows.to_pylist(), key=lambda row: row["key"])
    assert direct.rows.to_pylist() == expected
    for index, data in enumerate(direct.shards.values()):
        keys = pq.read_table(io.BytesIO(data))["key"].to_pylist()
        assert keys == sorted(keys)
        assert all(edges[index] <= key < edges[index + 1] and key * n >> 64 == index for key in keys)
    monkeypatch.setattr("raysweep.patches.shuffle.merge._SHARDS_AT_ONCE", 2)
    monkeypatch.setattr("raysweep.patches.shuffle.divide._WAYS", 2)
    monkeypatch.setattr("raysweep.patches.shuffle.divide._PARTS", 2)
    monkeypatch.setattr("raysweep.patches.shuffle.divide._GROUP_BYTES", 50_000)
    ranges = make(SPEC, made.slides, Storage.open(tmp_path / "ranges"), made.spool)
    assert ranges.shards == direct.shards
    assert not ranges.artefact.folder.exists("merge")


def without_files(slides: list[SlideEntry], *keep: str) -> list[SlideEntry]:
    """The same slides, but only those to keep can be read."""
    return [slide if slide.name in keep else replace(slide, path="/nowhere") for slide in slides]


def test_a_kill_before_the_shards_costs_no_reading(made, tmp_path):
    slides = [slide for slide in made.slides if slide.name in GOOD]
    inputs = patch_set_inputs(SPEC, slides, 0)
    first = make(SPEC, slides, Storage.open(tmp_path), made.spool, inputs=inputs)
    shards = first.shards
    first.artefact.folder.remove()
    again = make(SPEC, without_files(slides), Storage.open(tmp_path), made.spool, inputs=inputs)
    assert again.shards == shards
    assert set(again.table["status"].to_pylist()) == {"done"}


def test_a_kill_within_a_slide_costs_only_what_was_under_way(folder, tmp_path):
    slides = [slide for slide in read_slides(SPEC, folder) if slide.name in ("a1", "b")]
    spec = SPEC.model_copy(update={"um": 32.0, "px": 64, "stride": 0.25})
    limits = Limits(cut_mpx=1)  # several cuts a slide
    first = make(spec, slides, Storage.open(tmp_path), limits=limits)
    shards, table = first.shards, first.table
    identified = next(entry for entry in first.artefact.inputs["slides"] if entry["name"] == "a1")
    killed = SlideSpool.below(first.spool, spool_inputs(spec, identified, 0, classes=[], copy=False)).name
    pieces = [name for name in first.spool.names(killed) if name.startswith("cut")]
    assert len(pieces) > 2
    first.spool.remove(killed, "slide.json")
    first.spool.remove(killed, pieces[1])
    first.artefact.folder.remove()
    times = {path: path.stat().st_mtime_ns for path in Path(first.spool.root).rglob("cut-*")}
    inputs = first.artefact.inputs
    again = make(spec, without_files(slides, "a1"), Storage.open(tmp_path), inputs=inputs, limits=limits)
    assert again.shards == shards
    assert again.table.drop_columns(["tile_seconds"]).equals(table.drop_columns(["tile_seconds"]))
    now = {path: path.stat().st_mtime_ns for path in Path(first.spool.root).rglob("cut-*")}
    assert {path.relative_to(first.spool.root).as_posix() for path in now if now[path] != times.get(path)} == {
        f"{killed}/{pieces[1]}"
    }


def test_one_more_slide_reads_only_that_slide_and_other_labels_read_none(made, tmp_path):
    slides = [slide for slide in made.slides if slide.name in GOOD]
    spool = Storage.open(tmp_path / "spool")
    make(SPEC, slides[:3], Storage.open(tmp_path / "three"), spool)
    inputs = patch_set_inputs(SPEC, slides, 0)
    four = make(SPEC, without_files(slides, slides[3].name), Storage.open(tmp_path / "four"), spool, inputs=inputs)
    assert four.shards == make(SPEC, slides, Storage.open(tmp_path / "all"), made.spool).shards
    relabelled = [replace(slide, label="x", split="val") for slide in slides]
    other = make(SPEC, without_files(relabelled), Storage.open(tmp_path / "x"), made.spool,
                 inputs=patch_set_inputs(SPEC, relabelled, 0))  # fmt: skip
    assert PatchSet(other.artefact.folder).classes == ["x"]
    assert set(other.rows["split"].cast(pa.string()).to_pylist()) == {"val"}


def test_shards_of_another_outcome_are_not_kept(made, tmp_path):
    """A slide failed in the run that was killed, and does not now: the same fingerprint, other shards."""
    slides = [slide for slide in made.slides if slide.name in GOOD]
    inputs = patch_set_inputs(SPEC, slides, 0)
    few = make(SPEC, without_files(slides, "a1", "b", "c"), Storage.open(tmp_path), inputs=inputs)
    assert few.row("a2")["status"] == "failed"
    few.artefact.folder.remove("manifest.json")
    again = make(SPEC, slides, Storage.open(tmp_path), inputs=inputs)
    assert again.row("a2")["status"] == "done"
    assert again.shards == make(SPEC, slides, Storage.open(tmp_path / "all"), made.spool).shards


def test_no_slide_at_all_is_an_error_and_a_table(made, tmp_path):
    slides = [slide for slide in made.slides if slide.name in ("bare", "text")]
    with pytest.raises(WorkError, match=r"^no slide of patch set small could be tiled: text: not a slide or"):
        make(SPEC, slides, Storage.open(tmp_path))
    [found] = Storage.open(tmp_path).names("patches", "small")
    left = Storage.open(tmp_path).at("patches", "small", found)
    assert left.read_table("slides.parquet")["status"].to_pylist() == ["skipped", "failed"]
    assert not left.exists("manifest.json")


def test_of_the_slides_that_may_fail_those_left_out_are_no_part(made, tmp_path):
    slides = [slide for slide in made.slides if slide.name in ("a1", "b")]
    slides += [replace(slides[0], name=f"gone{n}", path="/nowhere") for n in range(2)]
    left_out = [(replace(slides[0], name=f"x{n}", path="/nowhere"), "not wanted") for n in range(100)]
    artefact = Artefact(Storage.open(tmp_path), patch_set_inputs(SPEC, slides, 0))
    how = {"seed": 0, "workers": 2, "progress": Progress(quiet=True), "excluded": left_out, "max_failed": 0.02}
    with pytest.raises(NoPatchSet, match=r"^2 of 4 slides of patch set .* failed, and patches"):
        tile(SPEC, slides, artefact, made.spool, **how)


def test_a_cap_counts_and_bounds(made, tmp_path):
    slides = [slide for slide in made.slides if slide.name in ("a1", "b")]
    few = make(SPEC.model_copy(update={"per_slide": 7}), slides, Storage.open(tmp_path))
    assert few.table["n_patches"].to_pylist() == [7, 7]
    assert few.row("b")["n_tissue"] == made.row("b")["n_patches"]
    everything = {(r["slide"], r["x"], r["y"]): r["image"]["bytes"] for r in made.rows.to_pylist()}
    assert all(everything[r["slide"], r["x"], r["y"]] == r["image"]["bytes"] for r in few.rows.to_pylist())


def test_real_slides(test_data, tmp_path):
    wsi = test_data / "wsi"
    half = wsi.joinpath("CMU-1-Small-Region.svs").read_bytes()
    (tmp_path / "half.svs").write_bytes(half[: len(half) // 2])
    rows = [f"{wsi}/CMU-1-Small-Region.svs,,", f"{wsi}/TCGA-CR-7395-01A-01-TS1.svs,0.5,", f"{wsi}/test3-DAPI.ndpi,,",
            f"{tmp_path}/half.svs,,"]  # fmt: skip
    (tmp_path / "slides.csv").write_text("\n".join(["path,mpp,stain", *rows]))
    spec = PatchSetSpec(slides="slides.csv", um=64, px=128)
    real = make(spec, read_slides(spec, tmp_path), Storage.open(tmp_path / "out"))
    cmu, tcga, half = (real.row(name) for name in ("CMU-1-Small-Region", "TCGA-CR-7395-01A-01-TS1", "half"))
    assert (cmu["status"], cmu["mpp"], cmu["mpp_source"], cmu["level"]) == ("done", pytest.approx(0.499), "metadata", 0)
    assert (tcga["status"], tcga["mpp"], tcga["mpp_source"], tcga["level"]) == ("done", 0.5, "table", 0)
    dapi = real.row("test3-DAPI")
    assert (dapi["status"], dapi["reason"]) == ("skipped", "not brightfield")
    assert 100 < cmu["n_patches"] < 200
    assert 500 < tcga["n_patches"] < 700
    assert half["status"] == "failed"
    assert half["slide"] not in real.rows["slide"].to_pylist()
    patches = PatchSet(real.artefact.folder)
    assert patches.n_patches == real.rows.num_rows
    assert {decode(row["image"]["bytes"]).shape for row in real.rows.slice(0, 50).to_pylist()} == {(128, 128, 3)}


def test_what_another_cut_left_is_not_taken_for_a_cut_of_this_one(tmp_path):
    write_slide(tmp_path / "s.svs", tissue(1920, 1920), mpp=0.25, compression="jpeg")
    spec = PatchSetSpec(slides="*.svs", um=8, px=32)
    slides = read_slides(spec, tmp_path)
    spool = Storage.open(tmp_path / "spool")
    first = make(spec, slides, Storage.open(tmp_path / "first"), spool, limits=Limits(cut_mpx=2))
    name = next(name for name in spool.names() if name != "kin")
    two = [file for file in spool.names(name) if file.endswith(".arrow")]
    spool.remove(name, "slide.json")
    spool.remove(name, two[1])
    again = make(spec, slides, Storage.open(tmp_path / "again"), spool, limits=Limits(cut_mpx=3))
    three = [file for file in spool.names(name) if file.endswith(".arrow")]
    assert len(two) == len(three) == 2  # as many cuts, and others
    assert not set(two) & set(three)
    assert again.rows.num_rows == first.rows.num_rows == 3600
    assert again.shards == first.shards


def test_keys_that_rescue_some_slides_leave_the_others_in_the_spool(tmp_path):
    for name, mpp in (("fine", 0.5), ("none", None), ("coarse", 1.1)):
        write_slide(tmp_path / f"{name}.svs", tissue(192, 192), mpp)
    slides = read_slides(PatchSetSpec(slides="*.svs", um=64, px=64), tmp_path)
    spool = Storage.open(tmp_path / "spool")

    def ends(out: str, **keys) -> tuple[dict[str, str], set[str]]:
        before = {path: path.stat().st_mtime_ns for path in Path(spool.root).rglob("cut-*")}
        made = make(PatchSetSpec(slides="*.svs", um=64, px=64, **keys), slides, Storage.open(tmp_path / out), spool)
        assert all(path.stat().st_mtime_ns == time for path, time in before.items())
        read = {p.parent.name for p in Path(spool.root).rglob("cut-*") if p not in before}
        slide_of = {Path(spool.root, name, "slide.json").parent.name for name in read}
        assert slide_of == read
        return dict(zip(made.table["slide"].to_pylist(), made.table["status"].to_pylist(), strict=True)), read

    first, read = ends("a")
    assert (first, len(read)) == ({"fine": "done", "none": "failed", "coarse": "skipped"}, 1)
    rescued, read = ends("b", slide_mpp=0.5)
    assert (rescued, len(read)) == ({"fine": "done", "none": "done", "coarse": "skipped"}, 1)
    enlarged, read = ends("c", slide_mpp=0.5, max_upsample=1.2)
    assert (enlarged, len(read)) == ({"fine": "done", "none": "done", "coarse": "done"}, 1)
    other, read = ends("d", slide_mpp=0.4, max_upsample=1.2)
    assert (other, len(read)) == ({"fine": "done", "none": "done", "coarse": "done"}, 1)  # of another scale now
    fewer, read = ends("e", slide_mpp=0.4)
    assert (fewer, len(read)) == ({"fine": "done", "none": "done", "coarse": "skipped"}, 0)
