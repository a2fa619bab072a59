"""Which files a folder, a glob or a name means, on disk and on object storage."""

import json
import os
from dataclasses import asdict, replace

import pytest

from raysweep.addresses import locate
from raysweep.errors import RequestError
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.entries import read_slides
from raysweep.slides.table.listing import tcga_columns
from tests.bucket import serve_bucket


def spec(slides: str, **keys) -> PatchSetSpec:
    return PatchSetSpec(slides=slides, um=64, px=64, **keys)


def test_a_glob_names_slides_by_stem(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.svs", "a.svs", "deep/c.svs", "note.txt"):
        (tmp_path / name).touch()
    assert [e.name for e in read_slides(spec("*.svs"), tmp_path)] == ["a", "b"]
    entries = read_slides(spec("**/*.svs"), tmp_path)
    assert [(e.name, e.given) for e in entries] == [("a", "a.svs"), ("b", "b.svs"), ("c", "deep/c.svs")]
    assert entries[2].path == (tmp_path / "deep" / "c.svs").as_posix()
    assert [e.name for e in read_slides(spec(f"{tmp_path}/deep/*.svs"), tmp_path / "deep")] == ["c"]


def test_a_folder_is_all_slides_and_pictures_directly_in_it(tmp_path):
    (tmp_path / "set" / "deep.svs").mkdir(parents=True)
    for name in ("b.SVS", "a.tif", "c.png", "d.jpg", "note.txt", "._a.svs", "slides.csv", "deep.svs/x.svs"):
        (tmp_path / "set" / name).touch()
    (tmp_path / "set" / "gone.svs").symlink_to("nowhere")
    for text, given in (("set", "set/"), (f"{tmp_path}/set/", f"{tmp_path}/set/")):
        entries = read_slides(spec(text), tmp_path)
        assert [e.given for e in entries] == [given + name for name in ("a.tif", "b.SVS", "c.png", "d.jpg", "gone.svs")]
        assert [e.name for e in entries] == ["a", "b", "c", "d", "gone"]
        assert entries[0].path == f"{tmp_path}/set/a.tif"
    assert [e.given for e in read_slides(spec("."), tmp_path / "set" / "deep.svs")] == ["x.svs"]
    (tmp_path / "set" / "scan.vms").touch()
    assert [e.name for e in read_slides(spec("set"), tmp_path)] == ["a", "b", "c", "gone", "scan"]
    (tmp_path / "set" / "a.png").touch()
    with pytest.raises(RequestError, match=r"slides set: 2 slides are called a \(set/a\.png, set/a\.tif\)"):
        read_slides(spec("set"), tmp_path)
    (tmp_path / "none").mkdir()
    with pytest.raises(RequestError, match=r"slides none: no slide or picture is directly in this folder \(\.svs "):
        read_slides(spec("none"), tmp_path)
    with pytest.raises(RequestError, match="no such file below"):
        read_slides(spec(""), tmp_path)


def test_a_file_that_is_called_like_a_glob_is_that_file(tmp_path):
    (tmp_path / "B [2]").mkdir()
    for name in ("A [1].png", "A 1.png", "{x}.png", "x*.png", "xy.png", "B [2]/c.png"):
        (tmp_path / name).touch()
    for text, names in [("A [1].png", ["A [1]"]), ("A ?.png", ["A 1"]), ("{x}.png", ["{x}"]), ("x*.png", ["x*"]),
                        ("B [2]", ["c"]), ("x?.png", ["x*", "xy"])]:  # fmt: skip
        assert [e.name for e in read_slides(spec(text), tmp_path)] == names


def test_a_name_that_is_not_utf8_is_written_with_its_bytes(tmp_path):
    path = os.fsdecode(b"odd\xff.svs")
    (tmp_path / "set").mkdir()
    for name in (path, "a.svs"):
        (tmp_path / "set" / name).touch()
    for text in ("set/*.svs", "{label}/*.svs", "set"):
        _, odd = read_slides(spec(text), tmp_path)
        assert (odd.name, odd.given) == ("odd\\udcff", "set/odd\\udcff.svs")
        assert odd.path == f"{tmp_path}/set/{path}"
        json.dumps(asdict(replace(odd, path="")), ensure_ascii=False).encode()


def test_slides_on_object_storage(tmp_path):
    with serve_bucket() as bucket:
        names = ("set/a.svs", "set/b 1.svs", "set/deep/c.svs", "set/deep/.hidden.svs", "set/note.txt", "other/d.svs")
        for name in names:
            bucket.put(name, b"x")
        at = bucket.address

        entries = read_slides(spec(at("set/*.svs")), tmp_path)
        assert [(e.name, e.path) for e in entries] == [("a", at("set/a.svs")), ("b 1", at("set/b 1.svs"))]
        assert [e.given for e in entries] == ["s3://slides/set/a.svs", "s3://slides/set/b 1.svs"]
        assert [e.name for e in read_slides(spec("**/*.svs", root=at("set")), tmp_path)] == ["a", "b 1", "c"]
        assert [e.name for e in read_slides(spec(at("*/?.svs")), tmp_path)] == ["a", "d"]
        assert [e.name for e in read_slides(spec(at("set/deep/c.svs")), tmp_path)] == ["c"]
        assert [e.path for e in read_slides(spec(at("set")), tmp_path)] == [at("set/a.svs"), at("set/b 1.svs")]
        assert [e.name for e in read_slides(spec("set/deep/", root=at("")), tmp_path)] == ["c"]
        bucket.put("odd/A [1].svs", b"x")
        assert [e.name for e in read_slides(spec(at("odd/A [1].svs")), tmp_path)] == ["A [1]"]
        bucket.put("notes/note.txt", b"x")
        with pytest.raises(RequestError, match=r"s3://slides/notes: no slide or picture is directly in this folder"):
            read_slides(spec(at("notes")), tmp_path)
        for nothing in ("set/*.tif", "none/*.svs", "set/none.svs"):
            with pytest.raises(RequestError, match=r"slides s3://slides/(set|none)/.*(no such file|cannot be listed)"):
                read_slides(spec(at(nothing)), tmp_path)

        text = f"path,mask,split\na.svs,masks/a 1.png,val\ndeep\\c.svs,,\n{at('other/d.svs')},/local/d.png,\n"
        bucket.put("set/slides.csv", text.encode())
        a, c, d = read_slides(spec(at("set/slides.csv")), tmp_path)
        assert (a.name, a.path, a.mask, a.split) == ("a", at("set/a.svs"), at("set/masks/a 1.png"), "val")
        assert (c.path, c.given) == (at("set/deep/c.svs"), "deep\\c.svs")
        assert (d.path, d.mask, d.given) == (at("other/d.svs"), "/local/d.png", "s3://slides/other/d.svs")
        (tmp_path / "slides.csv").write_text(text)
        assert read_slides(spec("slides.csv", root=at("set")), tmp_path) == [a, c, d]
        with pytest.raises(RequestError, match=r"slide table s3://slides/none\.csv: cannot be read"):
            read_slides(spec(at("none.csv")), tmp_path)

        bucket.put("coords/a.h5", b"x")
        coords = [e.coords for e in read_slides(spec(at("set/slides.csv"), coords=at("coords")), tmp_path)]
        assert coords == [at("coords/a.h5"), at("coords/c.h5"), at("coords/d.h5")]
        assert locate(a.path)[1] == "slides/set/a.svs"


def test_a_file_address_is_a_path(tmp_path):
    (tmp_path / "b c.svs").touch()
    (entry,) = read_slides(spec(f"file://{tmp_path}/*.svs"), tmp_path)
    assert (entry.name, entry.path) == ("b c", f"{tmp_path}/b c.svs")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("TCGA-3C-AALI-01Z-00-DX1.F6E9A5DF-D8FB-45CF-B4BD-C6B76294C291",
         ("TCGA-3C-AALI", "3C", "tumor", "01", "ffpe")),
        ("TCGA-CR-7395-01A-01-TS1", ("TCGA-CR-7395", "CR", "tumor", "01", "frozen")),
        ("TCGA-A6-2671-11A-01-BS1.x", ("TCGA-A6-2671", "A6", "normal", "11", "frozen")),
        ("TCGA-02-0001-06A-02-MSA", ("TCGA-02-0001", "02", "tumor", "06", "frozen")),
        ("tcga-3c-aali-01z-00-dx1.f6e9", ("TCGA-3C-AALI", "3C", "tumor", "01", "ffpe")),
        ("TCGA-AB-1234-20A", ("TCGA-AB-1234", "AB", "control", "20", None)),
        ("TCGA-AB-1234-61A-01-XX1", ("TCGA-AB-1234", "AB", None, "61", None)),
        ("TCGA-AB-1234", ("TCGA-AB-1234", "AB", None, None, None)),
        ("TCGA-AB-1234_level0", ("TCGA-AB-1234", "AB", None, None, None)),
    ],
)  # fmt: skip
def test_a_barcode(name, told):
    columns = ("patient", "site", "sample_type", "sample_code", "preparation")
    assert tcga_columns(name) == {column: cell for column, cell in zip(columns, told, strict=True) if cell}


@pytest.mark.parametrize("name", ["slide1", "my-TCGA-3C-AALI", "TCGA-3C-AALIX", "TCGA-3C", "TCGA_3C_AALI", ""])
def test_another_name_tells_nothing(name):
    assert tcga_columns(name) == {}


def test_a_cell_without_end_is_one_sentence(tmp_path):
    (tmp_path / "slides.csv").write_text("path\n" + "a" * 10**6)
    with pytest.raises(RequestError, match=r"is not CSV \(field larger than field limit \(131072\)\)"):
        read_slides(spec("slides.csv"), tmp_path)


def test_links_that_go_round_and_what_tools_leave(tmp_path):
    """Two links to a folder above are 2^40 ways to each file, until the system gives up."""
    for name in ("b.png", "z/c.png", "@eaDir/b.png/thumb.png", "z/__MACOSX/d.png", "lost+found/e.png", ".trash/f.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name, target in (("a", "."), ("aa", "."), ("z/up", ".."), ("other", "z"), ("self.png", "self.png")):
        (tmp_path / name).symlink_to(target)
    assert [e.given for e in read_slides(spec("**/*.png"), tmp_path)] == ["b.png", "z/c.png", "self.png"]
    assert [e.given for e in read_slides(spec("z/{label}/*.png"), tmp_path)] == ["z/up/b.png", "z/up/self.png"]
    assert [e.given for e in read_slides(spec("**/__MACOSX/*.png"), tmp_path)] == ["z/__MACOSX/d.png"]
    assert [e.given for e in read_slides(spec("**/.trash/*.png"), tmp_path)] == [".trash/f.png"]
