import numpy as np
import pytest

from raysweep.errors import RequestError
from raysweep.patches.read import PatchSet
from raysweep.pretrain.rows import TrainingRows
from raysweep.pretrain.source import SourceInput


def rows_of(folder, *, labelled: bool) -> TrainingRows:
    return TrainingRows(SourceInput("set", folder), labelled=labelled, split_seed=0)


def test_only_the_training_split_and_labelled_patches_are_used(make_set):
    """Of 200 patches every fifth is for testing and every seventh has no label."""
    folder = make_set(
        200,
        split=lambda i: "test" if i % 5 == 0 else ("train" if i % 2 else None),
        label=lambda i: None if i % 7 == 0 else i % 3,
        x=lambda i: i,
    )
    usable = [i for i in range(200) if i % 5 and i % 7]
    patches = PatchSet(folder)
    rows = rows_of(folder, labelled=True)
    assert sum(rows.rows) == len(usable)
    found = []
    for group, count in zip(patches.row_groups, rows.rows, strict=True):
        table = patches.read(group, ["split", "label", "x"])
        among = rows.among(table)
        assert len(among) == count  # what was counted when the shard was written
        found += np.asarray(table["x"])[among].tolist()
    assert sorted(found) == usable
    assert sum(rows_of(folder, labelled=False).rows) == 160


def test_a_set_without_labels(make_set):
    folder = make_set(40, classes=())
    with pytest.raises(RequestError, match="needs labels of at least two classes; give the slide table a label column"):
        rows_of(folder, labelled=True)
    assert sum(rows_of(folder, labelled=False).rows) == 40


def test_nothing_to_train_on(make_set):
    folder = make_set(10, split=lambda i: "test")
    with pytest.raises(RequestError, match="patches set: no patch of its training split"):
        rows_of(folder, labelled=False)


def test_what_was_seen_are_slides(patch_set):
    assert {"s0", "s1", "s2", "s3"} <= rows_of(patch_set, labelled=False).seen
