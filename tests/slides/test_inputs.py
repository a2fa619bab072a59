"""What a patch set's fingerprint covers and what it does not."""

import os
from dataclasses import replace
from shutil import copy, copytree

import pyarrow.fs as pafs
import pytest

from raysweep.slides import identity
from raysweep.slides.identity import Identities
from raysweep.slides.inputs import patch_set_inputs, spool_inputs
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.entries import SlideEntry
from raysweep.storage import Storage, file_identity, fingerprint

from .dicoms import write_dicom


@pytest.fixture
def slides(tmp_path):
    entries = []
    for name in ("b", "a"):
        path = tmp_path / f"{name}.svs"
        path.write_bytes(name.encode() * 100)
        entries.append(SlideEntry(name, str(path), patient="p", label="x"))
    return entries


def spec(**keys) -> PatchSetSpec:
    return PatchSetSpec(**{"slides": "slides.csv", "um": 64, "px": 64, **keys})


def test_places_order_and_ways_of_choosing_do_not_matter(slides, tmp_path):
    (tmp_path / "far").mkdir()
    moved = [replace(s, path=copy(s.path, tmp_path / "far"), extra={"note": "x"}) for s in reversed(slides)]
    other = spec(slides="other.csv", root="far", where={"kind": "tumour"})
    assert patch_set_inputs(spec(), slides, 0) == patch_set_inputs(other, moved, 0)


def test_keys_table_columns_and_contents_matter(slides, tmp_path):
    base = fingerprint(patch_set_inputs(spec(), slides, 0))
    found = {base, fingerprint(patch_set_inputs(spec(), slides, 1))}
    changed = [{"um": 65}, {"px": 32}, {"min_tissue": 0.4}, {"tissue": "all"}, {"per_slide": 3}, {"quality": 80},
               {"max_upsample": 1.2}, {"split": {"val": 0.5}}]  # fmt: skip
    found |= {fingerprint(patch_set_inputs(spec(**keys), slides, 0)) for keys in changed}
    for column in ("name", "patient", "label", "split"):
        found.add(fingerprint(patch_set_inputs(spec(), [replace(slides[0], **{column: "q"}), slides[1]], 0)))
    found.add(fingerprint(patch_set_inputs(spec(), [replace(slides[0], mpp=0.5), slides[1]], 0)))
    (tmp_path / "a.svs").write_bytes(b"z" * 100)
    found.add(fingerprint(patch_set_inputs(spec(), slides, 0)))
    assert len(found) == 2 + len(changed) + 4 + 1 + 1


def test_what_no_key_reads_does_not_matter(slides, tmp_path):
    for name in ("a.xml", "a.png"):
        (tmp_path / name).write_bytes(b"x")
    beside = {"annotations": str(tmp_path / "a.xml"), "mask": str(tmp_path / "a.png"), "site": "AB"}
    more = [slides[0], replace(slides[1], **beside)]
    assert patch_set_inputs(spec(), more, 0) == patch_set_inputs(spec(), slides, 0)
    assert patch_set_inputs(spec(export=["geojson"]), slides, 0) == patch_set_inputs(spec(), slides, 0)
    regions = {"source": "regions", "rule": "any", "classes": {"t": ["t"]}}
    relabelled = [slides[0], replace(slides[1], label="y")]
    assert patch_set_inputs(spec(labels=regions), relabelled, 0) == patch_set_inputs(spec(labels=regions), slides, 0)
    for keys in ({"labels": regions}, {"tissue": "annotations"}, {"tissue": "mask"}, {"split_by": "site"}):
        assert patch_set_inputs(spec(**keys), more, 0) != patch_set_inputs(spec(**keys), slides, 0)


def test_all_files_of_a_slide_make_its_identity(tmp_path):
    data = tmp_path / "m" / "Data0000.dat"
    data.parent.mkdir()
    data.write_bytes(b"1" * 50)
    (tmp_path / "m.mrxs").write_bytes(b"stub")
    for number in (1, 2):
        write_dicom(tmp_path / "d" / f"{number}.dcm", "1.2.3.4.5.1")
    write_dicom(tmp_path / "d" / "of_another.dcm", "1.2.3.4.5.2")
    slides = [SlideEntry("m", str(tmp_path / "m.mrxs")), SlideEntry("d", str(tmp_path / "d/1.dcm"))]
    before = patch_set_inputs(spec(), slides, 0)
    assert [f["name"] for s in before["slides"] for f in s["identity"]["files"]] == ["2.dcm", "m/Data0000.dat"]
    data.write_bytes(b"2" * 50)
    after = patch_set_inputs(spec(), slides, 0)
    assert [a == b for a, b in zip(before["slides"], after["slides"], strict=True)] == [True, False]
    write_dicom(tmp_path / "d/2.dcm", "1.2.3.4.5.1", more=b"other")
    assert patch_set_inputs(spec(), slides, 0)["slides"][0] != after["slides"][0]
    (tmp_path / "elsewhere").mkdir()
    moved = [replace(s, path=s.path.replace(str(tmp_path), f"{tmp_path}/elsewhere/x")) for s in slides]
    copytree(tmp_path / "m", tmp_path / "elsewhere/x/m"), copytree(tmp_path / "d", tmp_path / "elsewhere/x/d")
    copy(tmp_path / "m.mrxs", tmp_path / "elsewhere/x")
    assert patch_set_inputs(spec(), moved, 0) == patch_set_inputs(spec(), slides, 0), "wherever they lie"


def test_a_file_is_read_again_only_when_its_size_or_time_has_changed(slides, tmp_path, monkeypatch):
    read: list[str] = []

    def counted(path):
        read.append(str(path))
        return file_identity(path)

    monkeypatch.setattr(identity, "file_identity", counted)
    home = Storage.open(tmp_path / "home")
    first = Identities(home)
    inputs = patch_set_inputs(spec(), slides, 0, first)
    assert len(read) == 2
    assert patch_set_inputs(spec(), slides, 0, first) == inputs
    first.save()
    assert patch_set_inputs(spec(), slides, 0, Identities(home)) == inputs
    assert len(read) == 2, "neither in this process nor in the next"
    assert str(tmp_path).encode() not in home.read_bytes("identities.json")
    os.utime(slides[0].path, ns=(1, 1))
    again = Identities(home)
    assert patch_set_inputs(spec(), slides, 0, again) == inputs
    assert read[2:] == [slides[0].path]
    again.save()
    home.write_bytes(b"damaged", "identities.json")
    assert patch_set_inputs(spec(), slides, 0, Identities(home)) == inputs
    assert len(read) == 5


def test_a_name_that_begins_with_a_slash_need_not_be_of_this_machine():
    """Files on HDFS have such names."""
    info = pafs.FileInfo("/nowhere/on/this/machine.svs", pafs.FileType.File, size=3, mtime_ns=5)
    assert identity._stamp(info) == "[3, 5, null]"


def test_a_missing_file_is_said_to_be_missing(slides, tmp_path):
    (tmp_path / "a.svs").unlink()
    first, second = patch_set_inputs(spec(), slides, 0)["slides"]
    assert first["name"] == "a"
    assert first["missing"] is True
    assert "identity" not in first
    assert second["identity"]["size"] == 100


def test_a_slides_spool_does_not_depend_on_who_the_patient_is(slides):
    def of(entry, keys=None, seed=0):
        inputs = patch_set_inputs(spec(**(keys or {})), [entry], seed)["slides"][0]
        return fingerprint(spool_inputs(spec(**(keys or {})), inputs, seed, classes=[], copy=False))

    base = of(slides[0])
    assert base == of(replace(slides[0], patient="q", label="y", split="test", site="z"))
    assert base == of(slides[0], {"split": {"test": 0.5}})
    others = {of(replace(slides[0], mpp=0.3)), of(replace(slides[0], name="c")), of(slides[0], seed=1),
              of(slides[0], {"per_slide": 9}), of(slides[1]), base}  # fmt: skip
    assert len(others) == 6


def test_the_order_of_classes_matters(slides):
    """It gives their ids, and the first of equals wins; a fingerprint of the keys alone would not see it."""
    regions = {"source": "regions", "rule": "center", "classes": {"a": ["x"], "b": ["y"]}}
    mask = {"store_mask": True, "values": {"c": 0, "d": 1}}
    base = spec(labels={**regions, **mask})
    for other in (
        spec(labels={**regions, **mask, "classes": {"b": ["y"], "a": ["x"]}}),
        spec(labels={**regions, **mask, "values": {"d": 1, "c": 0}}),
    ):
        assert fingerprint(base) == fingerprint(other)
        found = [patch_set_inputs(s, slides, 0) for s in (base, other)]
        assert fingerprint(found[0]) != fingerprint(found[1])
        spools = [
            spool_inputs(s, f["slides"][0], 0, classes=list(s.labels.classes), copy=False)
            for s, f in zip((base, other), found, strict=True)
        ]
        assert fingerprint(spools[0]) != fingerprint(spools[1])


@pytest.mark.parametrize("name", [os.fsdecode(b"odd\xff.svs"), "with\0nul.svs"])
def test_a_name_that_cannot_be_opened_is_as_good_as_missing(slides, tmp_path, name):
    odd = [replace(slides[0], path=f"{tmp_path}/{name}"), replace(slides[1], mask=f"{tmp_path}/{name}")]
    a, b = patch_set_inputs(spec(tissue="mask"), odd, 0)["slides"]
    assert b["missing"] is True
    assert "identity" not in b
    assert a["identity"]["size"] == 100
    assert a["mask"] == "missing"


@pytest.mark.parametrize("kind", ["annotations", "coords", "mask"])
def test_a_change_in_the_middle_of_a_file_beside_the_slide_is_noticed(slides, tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(bytes(5 * 2**20))
    entry = replace(slides[1], **{kind: str(path)})
    keys = {"tissue": kind} if kind != "coords" else {}
    before = patch_set_inputs(spec(**keys), [entry], 0)
    with open(path, "r+b") as file:
        file.seek(2**21)
        file.write(b"x")
    after = patch_set_inputs(spec(**keys), [entry], 0)
    assert (before["slides"][0]["name"], before["slides"][0][kind]["size"]) == ("a", 5 * 2**20)
    assert fingerprint(before) != fingerprint(after)


def test_of_a_large_mask_only_the_ends_are_read(slides, tmp_path):
    path = tmp_path / "a.tiff"
    with open(path, "wb") as file:
        file.truncate(17 * 2**20)
    entry = replace(slides[1], mask=str(path))
    assert patch_set_inputs(spec(tissue="mask"), [entry], 0)["slides"][0]["mask"] == file_identity(path)


def test_the_identity_of_a_small_file_beside_the_slide_is_that_of_any_file(slides, tmp_path):
    (tmp_path / "a.xml").write_bytes(b"x" * 1_500_000)
    entry = replace(slides[1], annotations=str(tmp_path / "a.xml"))
    found = patch_set_inputs(spec(tissue="annotations"), [entry], 0)["slides"][0]["annotations"]
    assert found == file_identity(tmp_path / "a.xml")
