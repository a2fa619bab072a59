"""Columns of a slide table that are made of its others."""

import pytest

from raysweep.errors import RequestError
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.entries import read_slides


def _read(folder, slides: str, **keys):
    return read_slides(PatchSetSpec(slides=slides, um=64, px=64, **keys), folder)


def test_the_table_of_a_data_set_is_a_slide_table(tmp_path):
    (tmp_path / "manifest.csv").write_text("name,split,case\na,testA,7\nb,train,\n")
    columns = {"slide": "{name}", "path": "images/{name}.png", "mask": "masks/{name}.png", "patient": "p{case}",
               "split": ""}  # fmt: skip
    first, second = _read(tmp_path, "manifest.csv", columns=columns)
    assert (first.name, first.given, first.patient, first.split) == ("a", "images/a.png", "p7", None)
    assert first.mask == (tmp_path / "masks/a.png").as_posix()
    assert second.patient is None, "nothing is made of empty cells alone"


def test_a_glob_gets_columns_and_filters_see_them(tmp_path):
    for name in ("x1", "x2"):
        (tmp_path / f"{name}.png").touch()
    columns = {"mask": "../masks/{name}_mask.png", "label": "{name}"}
    [one] = _read(tmp_path, "{name}.png", columns=columns, where={"label": "x2"})
    assert (one.name, one.label, one.mask) == ("x2", "x2", f"{tmp_path}/../masks/x2_mask.png")


def test_a_name_that_is_no_column_is_one_sentence(tmp_path):
    (tmp_path / "slides.csv").write_text("path,case\na.svs,1\n")
    with pytest.raises(RequestError, match=r"columns\.patient: \{cas\} is no column of it; it has path, case"):
        _read(tmp_path, "slides.csv", columns={"patient": "{cas}"})
    (tmp_path / "slides.csv").write_text("name\na\n")
    with pytest.raises(RequestError, match="has no column `path`; name the slide files in one, or say under `columns`"):
        _read(tmp_path, "slides.csv")
