"""Slide tables and globs, and what is wrong with them."""

import json
import re
from dataclasses import asdict

import pytest
from pydantic import ValidationError

from raysweep.errors import RequestError
from raysweep.slides.labels.classes import classes_of
from raysweep.slides.labels.spec import LabelSpec
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.entries import SlideEntry, file_stem, read_slides


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
        (
            "path\nx/a.svs\ny/a.svs\nz/a.svs\nx/b.svs\ny/b.svs\n",
            {},
            "slides.csv: 3 slides are called a (x/a.svs, y/a.svs, ...), "
            "2 slides are called b (x/b.svs, y/b.svs); give each its own name in the column `slide` of a slide table",
        ),
        (
            "path\n" + "".join(f"x/{n}.svs\ny/{n}.svs\n" for n in range(7)),
            {},
            "called 4 (x/4.svs, y/4.svs); give each its own name in the column `slide` of a slide table; and 2 more",
        ),
        ("path\na.svs,b\n", {}, "line 2: has 2 cells for 1 columns"),
        (
            "path\na.svs,b\nb.svs\nc.svs,d,e\n",
            {},
            "line 2: has 2 cells for 1 columns, line 4: has 3 cells for 1 columns; quote a cell that holds a comma",
        ),
        (
            "path\n" + "a.svs,b\n" * 7,
            {},
            "line 6: has 2 cells for 1 columns; quote a cell that holds a comma; and 2 more",
        ),
        (
            "path,mpp,split\na.svs,0,\nb.svs,1,\nc.svs,40x,\n,,\nd.svs,,validation\n,1,\n",
            {},
            "slides.csv, line 2: `mpp` is 0, line 4: `mpp` is 40x; write um per pixel as a number above 0, or nothing; "
            "line 6: `split` is validation; write one of train, val, test, or nothing; line 7: `path` is empty; name "
            "the slide file",
        ),
        (
            "path,mpp\n" + "".join(f"{n}.svs,-1\n" for n in range(7)),
            {},
            "line 6: `mpp` is -1; write um per pixel as a number above 0, or nothing; and 2 more",
        ),
        (
            "path,patient,split\na.svs,p,train\nb.svs,p,test\nc.svs,q,val\nd.svs,q,test\n",
            {},
            "patient p is in the splits "
            "train and test, patient q is in the splits val and test; keep all its slides in one",
        ),
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
        ("path,site\na.svs,x\nb.svs,\n", {"split_by": "site"}, "slide b has no `site`; fill in what"),
        ("path,site,split\na.svs,x,train\nb.svs,x,val\n", {"split_by": "site"}, "site x is in the splits train and"),
        ("path,site,patient\na.svs,x,p\nb.svs,y,p\n", {"split_by": "site"}, "patient p is at the sites x and y"),
        ('path,x\na.svs,"' + "y" * 200_000 + '"\n', {}, "line 2: is not CSV (field larger than"),
    ],
)
def test_a_bad_table_is_one_sentence(tmp_path, text, keys, message):
    with pytest.raises(RequestError, match=re.escape(message)) as caught:
        read(tmp_path, text, **keys)
    assert "slides.csv" in str(caught.value)


TWO_NAMES = "slide,path,patient,split\na,one.svs,p,{}\nb,{},q,{}\n"


@pytest.mark.parametrize("other", ["one.svs", "deep/../one.svs", "link.svs"])
def test_one_file_under_two_names_is_refused_where_it_may_come_into_two_splits(tmp_path, other):
    (tmp_path / "deep").mkdir()
    (tmp_path / "one.svs").touch()
    (tmp_path / "link.svs").symlink_to("one.svs")
    message = (
        "the slides a and b are one file, one.svs, and may come into two splits; name a file once, or give its slides"
    )
    for splits, keys in [(("", ""), {"split": {"val": 0.5}}), (("test", ""), {}), (("test", "train"), {}),
                         (("train", ""), {"split": {"test": 0.1}})]:  # fmt: skip
        with pytest.raises(RequestError, match=re.escape(message)):
            read(tmp_path, TWO_NAMES.format(splits[0], other, splits[1]), **keys)
    for splits, keys in [(("", ""), {}), (("", ""), {"split": {"val": 0.0}}), (("train", ""), {}),
                         (("test", "test"), {"split": {"val": 0.5}})]:  # fmt: skip
        assert len(read(tmp_path, TWO_NAMES.format(splits[0], other, splits[1]), **keys)) == 2


def test_one_file_of_one_patient_is_in_one_split(tmp_path):
    one_patient = TWO_NAMES.format("", "one.svs", "").replace(",q,", ",p,")
    assert len(read(tmp_path, one_patient, split={"val": 0.5})) == 2
    sites = "slide,path,patient,site\na,one.svs,p,x\nb,one.svs,q,{}\n"
    assert len(read(tmp_path, sites.format("x"), split={"val": 0.5}, split_by="site")) == 2
    with pytest.raises(RequestError, match=r"a and b are one file.* give its slides one site"):
        read(tmp_path, sites.format("y"), split={"val": 0.5}, split_by="site")


@pytest.mark.parametrize("where", [{"use": [True, "maybe"]}, {"use": False}, {"use": None}, {"use": ["x", None]}])
def test_a_word_that_yaml_takes_for_another_is_refused(where):
    with pytest.raises(ValidationError, match=r"where\.use: (true|false|null) is a value of its own in YAML"):
        spec("slides.csv", where=where)
    assert spec("slides.csv", where={"use": ["yes", 1], "n": 2}).where == {"use": ["yes", "1"], "n": "2"}


def test_a_scale_without_end_is_refused():
    for key in ("um", "slide_mpp", "stride", "max_upsample"):
        with pytest.raises(ValidationError, match="finite number"):
            PatchSetSpec(**{"slides": "s", "um": 64, "px": 64, key: float("inf")})


def test_a_long_name_is_a_file_of_its_own():
    assert file_stem("a/b c.1") == "a%2Fb c.1"
    for letter in ("x", "\u00fc", "/"):
        one, other = (file_stem(letter * 120 * 3 + end) for end in "ab")
        assert one != other
        assert one[:200] == other[:200]
        assert 200 < len(one) <= 240
        assert re.fullmatch(r"(x|%..)+-[0-9a-f]{16}", one)
    assert file_stem("x" * 240) == "x" * 240


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


def test_the_real_tcga_slide_is_a_frozen_section(test_data):
    entry = next(e for e in read_slides(spec("wsi/*.svs"), test_data) if e.name.startswith("TCGA"))
    assert entry.columns["patient"] == "TCGA-CR-7395"
    assert (entry.site, entry.sample_type, entry.preparation) == ("CR", "tumor", "frozen")


@pytest.mark.parametrize("word", ["NA", "nan", "N/A", "<NA>", "#N/A", "NULL", "None"])
@pytest.mark.parametrize("column", ["patient", "mask", "annotations", "path"])
def test_a_word_for_nothing_is_no_value(tmp_path, column, word):
    """Slides without a patient would be one patient, and come into one split."""
    header, row = ("path,label", f"{word},x") if column == "path" else (f"path,{column}", f"a.svs,{word}")
    with pytest.raises(RequestError, match=rf"line 2: `{column}` is {word}; leave the cell empty"):
        read(tmp_path, f"{header}\n{row}\n")


def test_nor_is_it_a_label_unless_it_is_meant(tmp_path):
    slides = read(tmp_path, "path,label\na.svs,NA\nb.svs,none\nNone.svs,x\n")
    labels = [slide.label for slide in slides]
    assert [slide.name for slide in slides] == ["None", "a", "b"]
    with pytest.raises(RequestError, match=r"^labels: the slide table has the label NA; leave the cell empty where"):
        classes_of(LabelSpec(), labels)
    assert classes_of(LabelSpec(ignore=["NA"]), labels) == ["none", "x"]
    assert classes_of(LabelSpec(classes={"a": ["NA"], "b": ["none", "x"]}), labels) == ["a", "b"]


@pytest.mark.parametrize("column", ["Patient", "MPP", "Label", "Split"])
def test_a_column_with_other_capitals_is_not_passed_by(tmp_path, column):
    text = f"path,{column}\na.svs,1\n"
    with pytest.raises(RequestError, match=rf"has a column `{column}` and none `{column.lower()}`; call it"):
        read(tmp_path, text)
    (slide,) = read(tmp_path, text, columns={column.lower(): ""})
    assert slide.extra == {column: "1"}
    assert slide.patient is slide.mpp is slide.label is slide.split is None


@pytest.mark.parametrize("name", ["t.xlsx", "t.parquet", "T.TXT", "t.csv.gz"])
def test_a_table_of_another_kind_is_no_slide(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(RequestError, match=rf"^slides {name}: is a table, but no CSV; save it as a \.csv"):
        read_slides(spec(name), tmp_path)
