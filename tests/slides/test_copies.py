"""One slide under several names: named, and never in two splits."""

import shutil

import pytest

from raysweep.errors import RequestError
from raysweep.slides.copies import copies_among, words_of_copies
from raysweep.slides.inputs import patch_set_inputs
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.columns import deal_splits
from raysweep.slides.table.entries import SlideEntry

from .slidemaker import tissue, write_slide


@pytest.fixture
def slides(tmp_path):
    for seed, name in enumerate("abcd"):
        write_slide(tmp_path / f"{name}.svs", tissue(64, 64, seed), downsamples=())
    shutil.copy(tmp_path / "a.svs", tmp_path / "copy.svs")
    return [SlideEntry(path.stem, path.as_posix()) for path in sorted(tmp_path.glob("*.svs"))]


def spec_of(**keys):
    return PatchSetSpec(slides="*.svs", um=32, px=64, **keys)


def test_copies_come_into_one_split(slides):
    spec = spec_of(split={"val": 0.4})
    inputs = patch_set_inputs(spec, slides, 0)
    assert inputs["copies"] == copies_among(inputs["slides"]) == [["a", "copy"]]
    together = [deal_splits(slides, spec.split, seed, copies=inputs["copies"]) for seed in range(20)]
    assert all(splits["a"] == splits["copy"] for splits in together)
    alone = [deal_splits(slides, spec.split, seed) for seed in range(20)]
    assert any(splits["a"] != splits["copy"] for splits in alone)
    assert {splits["a"] for splits in together} == {"train", "val"}
    assert words_of_copies([["a", "copy"]]).endswith("names (never dealt to two splits): a and copy")


def test_so_do_the_other_slides_of_their_patients(slides):
    patients = [
        SlideEntry(s.name, s.path, patient={"a": "P", "b": "P", "copy": "Q", "c": "Q"}.get(s.name)) for s in slides
    ]
    spec = spec_of(split={"val": 0.5})
    copies = patch_set_inputs(spec, patients, 0)["copies"]
    for seed in range(10):
        splits = deal_splits(patients, spec.split, seed, copies=copies)
        assert len({splits[name] for name in ("a", "b", "c", "copy")}) == 1


def test_a_table_that_parts_them_is_refused(slides):
    given = [SlideEntry(s.name, s.path, split={"a": "train", "copy": "val"}.get(s.name)) for s in slides]
    with pytest.raises(
        RequestError, match=r"^slides a and copy have the same content and are in the splits train and val"
    ):
        patch_set_inputs(spec_of(), given, 0)


def test_where_nothing_is_dealt_no_fingerprint_changes(slides):
    assert "copies" not in patch_set_inputs(spec_of(), slides, 0)
    assert "copies" not in patch_set_inputs(spec_of(split={"val": 0.5}), [s for s in slides if s.name != "copy"], 0)
