"""Slide tables and globs, and what is wrong with them."""

import re

import pytest

from raysweep.errors import RequestError
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table import read_slides


def spec(slides: str, **keys) -> PatchSetSpec:
    return PatchSetSpec(slides=slides, um=64, px=64, **keys)


def read(folder, text: str, **keys):
    (folder / "slides.csv").write_text(text, encoding="utf-8")
    return read_slides(spec("slides.csv", **keys), folder)


def test_a_table_with_a_byte_order_mark_spaces_and_empty_lines(tmp_path):
    text = (
        "\ufeffslide , path, mpp,patient, stain,note\r\n b , sub/b.svs , 0.25 , p1 , HE ,\r\n\r\n a,a.svs,,,, x y\r\n"
    )
    first, second = read(tmp_path, text)
    assert (first.name, first.given, first.mpp, first.patient, first.extra) == (
        "a",
        "a.svs",
        None,
        None,
        {"note": "x y"},
    )
    assert (second.name, second.mpp, second.patient, second.extra) == ("b", 0.25, "p1", {"stain": "HE"})
    assert second.path == (tmp_path / "sub" / "b.svs").as_posix()


def test_names_default_to_stems_and_rows_may_be_short(tmp_path):
    entries = read(tmp_path, "path,label,split\nx/s2.svs,tumour,test\ns1.svs\n")
    assert [(e.name, e.label, e.split) for e in entries] == [("s1", None, None), ("s2", "tumour", "test")]


def test_root_moves_the_slides_but_not_the_table(tmp_path):
    entries = read(tmp_path, f"path\na.svs\n{tmp_path}/far/b.svs\n", root="store")
    assert [e.path for e in entries] == [f"{tmp_path}/store/a.svs", f"{tmp_path}/far/b.svs"]


def test_where_filters_on_any_column(tmp_path):
    text = "path,kind,site\na.svs,tumour,x\nb.svs,normal,x\nc.svs,tumour,y\nd.svs,tumour,z\n"
    assert [e.name for e in read(tmp_path, text, where={"kind": "tumour", "site": ["x", "y"]})] == ["a", "c"]


def test_a_glob_names_slides_by_stem(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.svs", "a.svs", "deep/c.svs", "note.txt"):
        (tmp_path / name).touch()
    assert [e.name for e in read_slides(spec("*.svs"), tmp_path)] == ["a", "b"]
    entries = read_slides(spec("**/*.svs"), tmp_path)
    assert [(e.name, e.given) for e in entries] == [("a", "a.svs"), ("b", "b.svs"), ("c", "deep/c.svs")]
    assert entries[2].path == (tmp_path / "deep" / "c.svs").as_posix()
    assert [e.name for e in read_slides(spec(f"{tmp_path}/deep/*.svs"), tmp_path / "deep")] == ["c"]


@pytest.mark.parametrize(
    ("text", "keys", "message"),
    [
        ("", {}, "has no column `path`"),
        ("slide,file\na,b\n", {}, "has no column `path`"),
        ("path\n\n", {}, "has no row"),
        ("path,path\na,b\n", {}, "has two columns `path`"),
        ("path,mpp\na.svs,0\n", {}, "line 2: `mpp` is 0"),
        ("path,mpp\nb.svs,1\na.svs,-0.5\n", {}, "line 3: `mpp` is -0.5"),
        ("path,mpp\na.svs,nan\n", {}, "`mpp` is nan"),
        ("path,mpp\na.svs,inf\n", {}, "`mpp` is inf"),
        ("path,mpp\na.svs,40x\n", {}, "`mpp` is 40x"),
        ("slide,path\na,\n", {}, "line 2: `path` is empty"),
        ("path\nx/a.svs\ny/a.svs\n", {}, "2 slides are called a"),
        ("path\na.svs,b\n", {}, "line 2: has 2 cells for 1 columns"),
        ("path,split\na.svs,validation\n", {}, "`split` is validation"),
        ("path,patient,split\na.svs,p,train\nb.svs,p,test\n", {}, "patient p is in the splits train and test"),
        ("path\na.svs\n", {"where": {"stain": "HE"}}, "names the column `stain`, which is not one of path"),
        ("path,stain\na.svs,IHC\n", {"where": {"stain": "HE"}}, "no slide is left"),
    ],
)
def test_a_bad_table_is_one_sentence(tmp_path, text, keys, message):
    with pytest.raises(RequestError, match=re.escape(message)) as caught:
        read(tmp_path, text, **keys)
    assert "slides.csv" in str(caught.value)


def test_a_table_that_cannot_be_read(tmp_path):
    with pytest.raises(RequestError, match=r"nowhere\.csv: cannot be read"):
        read_slides(spec("nowhere.csv"), tmp_path)
    (tmp_path / "latin.csv").write_bytes("path\nm\u00fcll.svs".encode("latin-1"))
    with pytest.raises(RequestError, match="is not UTF-8"):
        read_slides(spec("latin.csv"), tmp_path)
    with pytest.raises(RequestError, match="no such file below"):
        read_slides(spec("*.svs"), tmp_path)
