"""The patch_set layout: a set of raysweep is a labelled set."""

import io
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from raysweep.errors import RequestError
from raysweep.patches.schema import patch_schema
from raysweep.patches.write import ROW_GROUP, write_patch_set
from raysweep.storage import Artefact, Storage
from raysweep.tasks.read import read_sample
from raysweep.tasks.stored import stored_pictures
from raysweep.tasks.task import index_task

N = ROW_GROUP + 12


def png(array):
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def mask_of(number):
    mask = np.zeros((8, 8), np.uint8)
    mask[: number % 8 + 1, :4] = 1
    return mask


def write_set(folder, **columns):
    """140 patches of four slides and two patients, in two row groups."""
    rows = [
        {
            "image": {"bytes": png(np.full((8, 8, 3), i, np.uint8)), "path": f"{i}.png"},
            "slide": f"s{i % 4}", "patient": f"p{i % 4 // 2}", "x": i, "y": 8 * i, "mpp": 0.5, "source_mpp": 0.25,
            "tissue": 1.0, "label": i % 2, "mask": png(mask_of(i)), "split": ("train", "test")[i % 4 // 2], "key": i,
            **{name: make(i) for name, make in columns.items()},
        }
        for i in range(N)
    ]  # fmt: skip
    artefact = Artefact(Storage.open(folder), {"made by": "a test"})
    table = pa.Table.from_pylist(rows, schema=patch_schema(["tumor", "normal"]))
    write_patch_set(artefact, table, config={"um": 4.0, "px": 8})
    return artefact.folder.root


def card_of(make_card, root, kind="classification", unit="patient", splits="given", mpp=0.5, **layout):
    plain = {"labels": {"tumor": "b", "normal": "a"}} if kind == "classification" else {}
    return make_card(kind, unit=unit, splits={"type": splits}, mpp=mpp, root=Path(root).name,
                     layout={"type": "patch_set", **plain, **layout})  # fmt: skip


@pytest.fixture
def root(tmp_path):
    return Path(write_set(tmp_path / "set"))


def test_patches_are_samples_with_their_labels_units_and_splits(root, make_card):
    task = index_task(card_of(make_card, root), Path(root).parent)
    assert len(task.samples) == N
    sample = task.samples[129]
    assert (sample.id, sample.label, sample.unit, sample.split) == ("s1/129-1032", 0, "p0", "train")
    assert (read_sample(task, 129)[0] == 129).all()
    assert (read_sample(pickle.loads(pickle.dumps(task)), 3)[0] == 3).all()
    assert len({seen.identity for seen in task.examined}) == N
    size, [picture] = stored_pictures(task.reader, sample.image, 8)
    assert (size, picture.data) == ((8, 8), png(np.full((8, 8, 3), 129, np.uint8)))
    by_slide = index_task(card_of(make_card, root, unit="slide", splits="holdout"), Path(root).parent)
    assert {s.unit for s in by_slide.samples} == {"s0", "s1", "s2", "s3"}
    by_patch = index_task(card_of(make_card, root, unit="image", splits="holdout"), Path(root).parent)
    assert len({s.unit for s in by_patch.samples}) == N


def test_masks_of_patches_are_class_ids(root, make_card):
    task = index_task(card_of(make_card, root, "segmentation"), Path(root).parent)
    assert task.samples[0].present == (0, 1)
    np.testing.assert_array_equal(read_sample(task, 130)[1], mask_of(130))


def test_a_class_can_be_left_out_and_patches_without_a_label_skipped(tmp_path, make_card):
    root = write_set(tmp_path / "set", label=lambda i: None if i % 5 == 0 else i % 2)
    with pytest.raises(RequestError, match=r"layout\.unlabelled: the patch of s0 at 0, 0 has no label; set it to skip"):
        index_task(card_of(make_card, root), Path(root).parent)
    task = index_task(card_of(make_card, root, unlabelled="skip"), Path(root).parent)
    assert len(task.samples) == N - N // 5
    card = card_of(make_card, root, unlabelled="skip", labels={"tumor": None, "normal": "a"})
    with pytest.raises(RequestError, match="no image of class b"):
        index_task(card, Path(root).parent)


def test_sets_that_do_not_fit_are_refused(root, tmp_path, make_card):
    def says(what, **keys):
        folder = Path(keys.pop("root", root))
        with pytest.raises(RequestError, match=what):
            index_task(card_of(make_card, folder, **keys), folder.parent)

    says("mpp: the patches have 0.5 um per pixel, not 0.25", mpp=0.25)
    says("'normal' is none of the classes a, b", labels={"tumor": "b"})
    says("a patch set says nothing of sites", unit="site")
    says("not complete", folder="shards")
    (tmp_path / "other").mkdir()
    says("not complete", root=tmp_path / "other")
    says("has no patient", root=write_set(tmp_path / "none", patient=lambda i: None))


def test_patches_without_a_mask_are_left_out_and_said(tmp_path, make_card):
    root = write_set(tmp_path / "set", mask=lambda i: None if i == 7 else png(mask_of(i)))
    task = index_task(card_of(make_card, root, "segmentation"), Path(root).parent)
    [(name, reason)] = task.excluded
    assert (name, "the patch has no mask" in reason) == ("s3/7-56", True)


def test_columns_of_the_slide_table_are_subgroups(root, make_card):
    slides = [{"slide": f"s{i}", "status": "done", "site": "AB"[i % 2], "stain": None} for i in range(3)]
    Storage.open(root).write_table(pa.Table.from_pylist(slides), "slides.parquet")
    card = card_of(make_card, root, groups={"site": "site", "stain": "stain"})
    samples = index_task(card, Path(root).parent).samples
    assert samples[0].groups == samples[2].groups == (("site", "A"), ("stain", "not given"))
    assert samples[1].groups == (("site", "B"), ("stain", "not given"))
    assert samples[3].groups == (), "of a slide that the table lacks nothing is known"
    with pytest.raises(RequestError, match=r"layout.groups.device: slides.parquet has no column 'scanner'; it has sl"):
        index_task(card_of(make_card, root, groups={"device": "scanner"}), Path(root).parent)


@pytest.mark.parametrize("folder", ["../other", "/etc", "a/../../b"])
def test_a_set_outside_of_the_root_is_refused(tmp_path, make_card, folder):
    (tmp_path / "toy").mkdir()
    with pytest.raises(RequestError, match=r"layout\.folder: the path .* must stay below the task's root"):
        index_task(make_card(layout={"type": "patch_set", "folder": folder}), tmp_path)
