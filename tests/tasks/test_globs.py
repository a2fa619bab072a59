"""Globs over listed paths: as pathlib's, but for the case of suffixes and forms of Unicode."""

import unicodedata

import pytest

from raysweep.tasks.globs import glob_matcher, literal_folder

PATHS = ["x.png", "a/x.png", "a/y.jpg", "a/b/x.png", "a/b/img_1.ome.tif", "c[1]/x.png", "a/b/c/noend", "images/x1.png"]


@pytest.mark.parametrize(
    "glob",
    ["*.png", "a/*.png", "*/*.png", "**/*.png", "a/**/*.png", "**/b/*", "a/b/img_?.ome.tif*", "[ab]/*.[pj]*", "**/x*",
     "a/**/b/**/x.png", "c[[]1]/*.png", "*/*[!g]", "x[.]png", "a/b/c/*", "images/x.*", "images/*.*"],
)  # fmt: skip
def test_globs_mean_what_they_mean_to_pathlib(tmp_path, glob):
    for path in PATHS:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"")
    expected = {p.relative_to(tmp_path).as_posix() for p in tmp_path.glob(glob) if p.is_file()}
    assert {path for path in PATHS if glob_matcher(glob)(path)} == expected


def test_two_stars_at_the_end_are_every_file_below():
    assert [path for path in PATHS if glob_matcher("a/**")(path)] == [path for path in PATHS if path.startswith("a/")]


def test_suffixes_match_in_any_case_and_stems_do_not():
    assert glob_matcher("images/*.png")("images/x.PNG")
    assert glob_matcher("images/*.TIF")("images/x.tif")
    assert not glob_matcher("images/x*.png")("images/X1.png")


def test_forms_of_unicode_do_not_matter():
    name = "bilder/Gewebe-ä.png"
    for glob in ("*/*ä.png", "bilder/Gewebe-?.png"):
        for form in ("NFC", "NFD"):
            matches = glob_matcher(unicodedata.normalize(form, glob))
            assert all(matches(unicodedata.normalize(other, name)) for other in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("glob", "folder"), [("a/b/*/c.png", "a/b"), ("*.png", ""), ("**/x", ""), ("a/x.png", "a"), ("a[1]/x.png", "")]
)
def test_the_folder_that_a_glob_begins_with(glob, folder):
    assert literal_folder(glob) == folder
