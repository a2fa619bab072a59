import numpy as np
import pytest
import torch

from raysweep.errors import RequestError
from raysweep.patches.order import Order
from raysweep.patches.read import PatchSet
from raysweep.patches.recipe import Recipe
from raysweep.pretrain.batches import Batches, TrainingRows

RECIPES = [Recipe(16, scale=(0.5, 1), jitter=0.5, contrast=0.3, blur=0.3), Recipe(8)]


def batches(folder, *, share=(0, 24), threads=1, labelled=True, batch=24) -> Batches:
    patches = PatchSet(folder)
    rows = TrainingRows(patches, labelled=labelled)
    order = Order(rows.rows, batch=batch, seed=1)
    return Batches(patches, rows, order, RECIPES, share=share, seed=2, mean=(0.5,) * 3, std=(0.2,) * 3, threads=threads)


def test_shares_and_threads_change_nothing(patch_set):
    whole = list(batches(patch_set).epoch(3))
    threaded = list(batches(patch_set, threads=3).epoch(3))
    shares = [list(batches(patch_set, share=share).epoch(3)) for share in ((0, 10), (10, 24))]
    assert len(whole) == 300 // 24
    for step, batch in enumerate(whole):
        assert [v.shape for v in batch.views] == [(24, 3, 16, 16), (24, 3, 8, 8)]
        for view in range(2):
            assert torch.equal(batch.views[view], threaded[step].views[view])
            assert torch.equal(batch.views[view], torch.cat([s[step].views[view] for s in shares]))
        assert torch.equal(batch.labels, torch.cat([s[step].labels for s in shares]))


def test_an_epoch_shows_each_class_as_often_as_there_are_patches(patch_set):
    labels = torch.cat([batch.labels for batch in batches(patch_set, batch=30, share=(0, 30)).epoch(0)])
    assert labels.bincount().tolist() == [100, 100, 100]


def test_epochs_show_other_views(patch_set):
    made = batches(patch_set)
    first, second = next(made.epoch(0)), next(made.epoch(1))
    assert not torch.equal(first.views[0], second.views[0])


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
    rows = TrainingRows(patches, labelled=True)
    assert sum(rows.rows) == len(usable)
    xs = [
        x
        for group in patches.row_groups
        for table in [patches.read(group, ["split", "label", "x"])]
        for x in np.asarray(table["x"])[rows.among(table)].tolist()
    ]
    assert sorted(xs) == usable
    assert sum(TrainingRows(patches, labelled=False).rows) == 160
    labels = torch.cat([b.labels for b in batches(folder, batch=8, share=(0, 8)).epoch(0)])
    assert labels.min() >= 0


def test_a_set_without_labels(make_set):
    folder = make_set(40, classes=())
    with pytest.raises(RequestError, match="needs labels of at least two classes; give the slide table a label column"):
        TrainingRows(PatchSet(folder), labelled=True)
    assert (next(batches(folder, labelled=False).epoch(0)).labels == -1).all()


def test_nothing_to_train_on(make_set):
    folder = make_set(10, split=lambda i: "test")
    with pytest.raises(RequestError, match="no patch of its training split"):
        TrainingRows(PatchSet(folder), labelled=False)


def test_sources_are_slides_and_patients(patch_set):
    rows = TrainingRows(PatchSet(patch_set), labelled=False)
    assert {"s0", "s1", "s2", "s3"} <= set(rows.sources)
