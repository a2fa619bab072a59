"""Slide tables and globs, and what is wrong with them."""

import json
import re
from dataclasses import asdict

import pytest

from raysweep.errors import RequestError
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table import SlideEntry, read_slides
from raysweep.storage import locate
from tests.bucket import serve_bucket


def spec(slides: str, **keys) -> PatchSetSpec:
    return PatchSetSpec(slides=slides, um=64, px=64, **keys)


def read(folder, text: str, **keys):
    (folder / "slides.csv").write_text(text, encoding="utf-8")
    return read_slides(spec("slides.csv", **keys), folder)


def test_a_table_with_a_byte_order_mark_spaces_and_empty_lines(tmp_path):
    text = (
        "\ufeffslide , path, mpp,patient, stain,note,\r\n"
        " b , sub/b.svs , 0.25 , p1 , ihc ,\r\n\r\n a,a.svs,,,, x y,,\r\n"
    )
    first, second = read(tmp_path, text)
    assert (first.name, first.given, first.mpp, first.patient, first.extra) == (
        "a",
        "a.svs",
        None,
        None,
        {"note": "x y"},
    )
    assert (second.name, second.mpp, second.patient, second.extra) == ("b", 0.25, "p1", {})
    assert (first.stain, second.stain) == ("he", "ihc")
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
        ('path,note\na.svs,"x\nb.svs,\n', {}, "a quote is not closed"),
        ("path,split\na.svs,validation\n", {}, "`split` is validation"),
        ("path,patient,split\na.svs,p,train\nb.svs,p,test\n", {}, "patient p is in the splits train and test"),
        ("path\na.svs\n", {"where": {"kind": "x"}}, "names the column `kind`, which is not one of path, slide, stain"),
        ("path,stain\na.svs,ihc\n", {"where": {"stain": "he"}}, "no slide is left"),
        ("path,stain\na.svs,H&E\n", {}, "line 2: `stain` is H&E; write one of he, ihc, cytology, trichrome"),
        ("path\nC:\\slides\\a.svs\n", {}, "line 2: `path` is the Windows path C:\\slides\\a.svs"),
        ("path\n\\\\server\\a.svs\n", {}, "`path` is the Windows path \\\\server"),
        ("path,mask\na.svs,D:/m.png\n", {}, "`mask` is the Windows path D:/m.png"),
        ("path\nnowhere://x/a.svs\n", {}, "line 2: nowhere://x"),
        ("path;mpp\na.svs;40x\n", {}, "`mpp` is 40x"),
        ("path,site\na.svs,x\nb.svs,\n", {"split_by": "site"}, "slide b has no `site`"),
        ("path,site,split\na.svs,x,train\nb.svs,x,val\n", {"split_by": "site"}, "site x is in the splits train and"),
        ("path,site,patient\na.svs,x,p\nb.svs,y,p\n", {"split_by": "site"}, "patient p is at the sites x and y"),
        ('path,x\na.svs,"' + "y" * 200_000 + '"\n', {}, "line 2: is not CSV (field larger than"),
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


TCGA = "TCGA-3C-AALI-01Z-00-DX1.F6E9A5DF", "TCGA-3C-AALK-11A-01-TS1", "TCGA-A6-2671-01A-01-BS1"


def test_tcga_names_fill_empty_cells(tmp_path):
    rows = f"path,patient,kind\n{TCGA[0]}.svs,,x\nsub/{TCGA[1]}.svs,mine,\nother.svs,,\n"
    first, second, other = read(tmp_path, rows)
    assert (first.patient, first.site, first.sample_type, first.preparation) == ("TCGA-3C-AALI", "3C", "tumor", "ffpe")
    assert first.extra == {"kind": "x", "sample_code": "01"}
    assert (second.patient, second.site, second.sample_type, second.preparation) == ("mine", "3C", "normal", "frozen")
    assert (other.patient, other.site, other.sample_type, other.extra) == (None, None, None, {})


def test_a_slide_may_have_its_own_name_and_a_tcga_file(tmp_path):
    first, second = read(tmp_path, f"slide,path\nmine,{TCGA[1]}.svs\n{TCGA[0]},x.svs\n")
    assert (first.name, first.patient) == (TCGA[0], "TCGA-3C-AALI")
    assert (second.name, second.patient) == ("mine", "TCGA-3C-AALK")


def test_where_filters_on_what_the_name_tells(tmp_path):
    text = "path\n" + "".join(f"{name}.svs\n" for name in (*TCGA, "other"))
    for where, left in [
        ({"sample_type": "tumor"}, [0, 2]),
        ({"preparation": "frozen", "sample_code": "11"}, [1]),
        ({"site": ["A6", "XX"]}, [2]),
        ({"patient": "TCGA-3C-AALI"}, [0]),
        ({"slide": list(TCGA[:2]), "stain": "he"}, [0, 1]),
    ]:
        assert [e.name for e in read(tmp_path, text, where=where)] == [TCGA[i] for i in left]
    with pytest.raises(RequestError, match="names the column `sample_type`"):
        read(tmp_path, "path\nother.svs\n", where={"sample_type": "tumor"})


def test_slides_of_a_tcga_patient_are_one_unit(tmp_path):
    same = ("TCGA-3C-AALI-01Z-00-DX1", "TCGA-3C-AALI-01A-01-TS1")
    first, second = read(tmp_path, "path\n" + "".join(f"{name}.svs\n" for name in same))
    assert first.unit() == second.unit() == ("patient", "TCGA-3C-AALI")
    assert first.unit("site") == ("site", "3C")


def test_semicolons_tabs_quotes_and_decimal_commas(tmp_path):
    expected = [("a", 0.25, "x, y"), ("b", None, None)]
    for text in (
        'path,mpp,label\n"a.svs","0,25","x, y"\n "b.svs" ,,\n',
        "path;mpp;label\na.svs;0,25;x, y\nb.svs;;\n",
        "\ufeffpath\tmpp\tlabel\na.svs\t0.25\tx, y\nb.svs\t\t\n",
        'path;mpp;label\n"a.svs"; 0,25 ;"x, y"\nb.svs\n',
        'path, mpp, label\na.svs, "0,25", "x, y"\nb.svs\n',
    ):
        assert [(e.name, e.mpp, e.label) for e in read(tmp_path, text)] == expected


def test_a_quoted_cell_may_have_two_lines_and_a_bare_quote_is_a_letter(tmp_path):
    assert read(tmp_path, 'path,note\na.svs,"x\ny"\nb.svs,\n')[0].extra == {"note": "x\ny"}
    assert read(tmp_path, 'path,note\na.svs,5" wide\nb.svs,\n')[0].extra == {"note": '5" wide'}


def test_windows_paths(tmp_path):
    (tmp_path / "really\\so.svs").touch()
    text = "path,mask\nsub\\a.svs,masks\\a.png\nreally\\so.svs,\n"
    first, second = read(tmp_path, text)
    assert (first.name, first.given) == ("a", "sub\\a.svs")
    assert (first.path, first.mask) == (f"{tmp_path}/sub/a.svs", f"{tmp_path}/masks/a.png")
    assert second.path == f"{tmp_path}/really\\so.svs"


def test_files_beside_the_slide_start_from_the_same_folder(tmp_path):
    text = "path,mask,annotations,coords\na.svs,m/a.png,/far/a.xml,\nb.svs,,,s3://bucket/b.h5?region=x\n"
    first, second = read(tmp_path, text, root="store")
    assert (first.mask, first.annotations, first.coords) == (f"{tmp_path}/store/m/a.png", "/far/a.xml", None)
    assert (second.mask, second.annotations, second.coords) == (None, None, "s3://bucket/b.h5?region=x")


def test_a_folder_of_coordinates(tmp_path):
    for name in ("a.h5", "a_patches.h5", "b_patches.h5", "d.h5", "note.txt"):
        (tmp_path / "patches").mkdir(exist_ok=True)
        (tmp_path / "patches" / name).touch()
    text = "path,coords\na.svs,\nb.svs,\nc.svs,\nd.svs,mine/d.h5\n"
    found = [e.coords for e in read(tmp_path, text, coords="patches", root="store")]
    folder = f"{tmp_path}/patches"
    assert found == [f"{folder}/a.h5", f"{folder}/b_patches.h5", f"{folder}/c.h5", f"{tmp_path}/store/mine/d.h5"]
    with pytest.raises(RequestError, match=r"coords .*nowhere: holds no \.h5 file"):
        read(tmp_path, text, coords="nowhere")


def test_columns_hold_everything_that_is_known(tmp_path):
    (entry,) = read(tmp_path, f"path,mpp,note,kind\n{TCGA[0]}.svs,0.25270001,,x\n")
    assert entry.columns == {
        "slide": TCGA[0], "path": f"{TCGA[0]}.svs", "mpp": "0.25270001", "stain": "he", "patient": "TCGA-3C-AALI",
        "site": "3C", "label": "", "split": "", "sample_type": "tumor", "preparation": "ffpe", "mask": "",
        "annotations": "", "coords": "", "kind": "x", "sample_code": "01",
    }  # fmt: skip


def test_an_entry_travels_as_json(tmp_path):
    text = f"path,mpp,stain,mask,note,split\n{TCGA[0]}.svs,0.25,ihc,m.png,\u00fc,val\n"
    (entry,) = read(tmp_path, text)
    assert SlideEntry(**json.loads(json.dumps(asdict(entry)))) == entry


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


def test_the_real_tcga_slide_is_a_frozen_section(test_data):
    entry = next(e for e in read_slides(spec("wsi/*.svs"), test_data) if e.name.startswith("TCGA"))
    assert entry.columns["patient"] == "TCGA-CR-7395"
    assert (entry.site, entry.sample_type, entry.preparation) == ("CR", "tumor", "frozen")
