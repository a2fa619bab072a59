"""A series of DICOM is one slide, however it is named."""

import pytest

from raysweep.errors import RequestError
from raysweep.slides.identity import Identities
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.entries import read_slides
from tests.bucket import serve_bucket

from ..dicoms import write_dicom

KEYS = {"um": 56, "px": 112}


def named(folder, slides, **keys):
    return [(entry.name, entry.path) for entry in read_slides(PatchSetSpec(slides=slides, **KEYS, **keys), folder)]


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        write_dicom(tmp_path / "p1" / "a" / f"DCM_{number}.dcm", "1.2.3.4.5.1")
        write_dicom(tmp_path / "p2" / "a" / f"DCM_{number}.dcm", "1.2.3.4.5.2")
        write_dicom(tmp_path / "mixed" / f"x{number}.dcm", f"1.2.3.4.5.{3 + number // 2}")
        write_dicom(tmp_path / "bare" / f"1.2.840.113.1.{number}", "1.2.3.4.5.6")
    return tmp_path


@pytest.mark.parametrize("slides", ["p1/a", "p1/a/", "p1/a/*.dcm", "p1/a/DCM_0.dcm", "p1/a/DCM_2.dcm", "p1", "p1/*"])
def test_whatever_is_named_it_is_one_and_the_same(folder, slides):
    (entry,) = read_slides(PatchSetSpec(slides=slides, **KEYS), folder)
    assert (entry.name, entry.path) == ("a", (folder / "p1/a/DCM_0.dcm").as_posix())
    identity = Identities().of_slide(entry.path)
    assert [identity["name"], *(file["name"] for file in identity["files"])] == [f"DCM_{n}.dcm" for n in range(3)]


@pytest.mark.parametrize("slides", ["p*/a/*.dcm", "p*/*", "**/a/DCM_1.dcm", "p*/a/DCM_?.dcm"])
def test_folders_of_one_name_are_told_apart(folder, slides):
    assert [name for name, _ in named(folder, slides)] == ["p1/a", "p2/a"]


def test_several_series_in_a_folder(folder):
    found = [("x0", (folder / "mixed/x0.dcm").as_posix()), ("x2", (folder / "mixed/x2.dcm").as_posix())]
    assert named(folder, "mixed") == named(folder, "mixed/*.dcm") == found
    assert named(folder, "mixed/x1.dcm") == found[:1]
    (folder / "t.csv").write_text("path\nmixed\n")
    with pytest.raises(
        RequestError, match=r"^slide mixed: the folder mixed holds 2 series of DICOM; name a file of each"
    ):
        named(folder, "t.csv")
    assert [file["name"] for file in Identities().of_slide(found[0][1])["files"]] == ["x1.dcm"]


def test_files_called_by_their_number(folder):
    assert named(folder, "bare") == named(folder, "bare/*") == [("bare", (folder / "bare/1.2.840.113.1.0").as_posix())]


def test_a_table_names_its_slides(folder):
    (folder / "t.csv").write_text("path,slide,patient\np1/a,mine,P\np1/a/DCM_1.dcm,mine,P\np2/a/DCM_2.dcm,,Q\n")
    assert [name for name, _ in named(folder, "t.csv")] == ["a", "mine"]
    (folder / "t.csv").write_text("path,split\np1/a/DCM_0.dcm,train\np1/a/DCM_1.dcm,val\n")
    with pytest.raises(
        RequestError, match=r"DCM_0.dcm and p1/a/DCM_1.dcm are files of one series .* differ in `split`"
    ):
        named(folder, "t.csv")


@pytest.mark.parametrize("implicit", [False, True])
def test_a_series_behind_sequences(tmp_path, implicit):
    for name in ("a", "b"):
        write_dicom(tmp_path / "s" / f"{name}.dcm", "1.2.3.4.5.1", implicit=implicit, nested=True)
    assert [name for name, _ in named(tmp_path, "s/*.dcm")] == ["s"]


def test_what_is_no_dicom_stays_what_it_is(tmp_path):
    write_dicom(tmp_path / "none.dcm", None)
    (tmp_path / "text.dcm").write_text("no DICOM")
    (tmp_path / "cut.dcm").write_bytes(write_dicom(tmp_path / "whole.dcm", "1.2.3.4.5.1").read_bytes()[:150])
    write_dicom(tmp_path / "one" / "only.dcm", "1.2.3.4.5.9")
    assert [name for name, _ in named(tmp_path, "*.dcm")] == ["cut", "none", "text", "whole"]
    assert [name for name, _ in named(tmp_path, "one/*.dcm")] == ["only"]


def test_on_object_storage(folder):
    with serve_bucket() as bucket:
        for path in sorted((folder / "p1/a").iterdir()):
            bucket.put(f"set/s 1/{path.name}", path.read_bytes())
        for slides in ("set/*/*.dcm", "set/s 1/DCM_2.dcm", "set/s 1"):
            ((name, path),) = named(folder, bucket.address(slides))
            assert name == "s 1"
            assert "DCM_0.dcm" in path
