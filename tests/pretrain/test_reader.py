"""What a step's places become: pictures, labels and keys, whoever prepares them."""

import numpy as np
import pytest
import torch

from raysweep.errors import WorkError
from raysweep.patches.mixture import Mixture
from raysweep.patches.recipe import Recipe
from raysweep.pretrain.batches import Painter, ThreadLoader
from raysweep.pretrain.reader import Reader
from raysweep.pretrain.rows import TrainingRows
from raysweep.pretrain.source import SourceInput

RECIPES = [Recipe(16, scale=(0.5, 1), jitter=0.5, contrast=0.3, blur=0.3), Recipe(8)]


def loader(*folders, share=(0, 24), threads=1, labelled=True, batch=24, weights=None) -> tuple[ThreadLoader, Mixture]:
    rows = [
        TrainingRows(SourceInput(f"set{i}", folder), labelled=labelled, split_seed=0)
        for i, folder in enumerate(folders)
    ]
    mixture = Mixture([row.rows for row in rows], weights or [1.0] * len(rows), batch=batch, seed=1)
    reader = Reader(rows, RECIPES, seed=2, capacity=mixture.groups_to_keep(*share))
    return ThreadLoader(reader, mixture, share=share, threads=threads), mixture


def test_shares_threads_and_where_it_starts_change_nothing(patch_set):
    made, mixture = loader(patch_set)
    start, stop = 2 * mixture.steps + 3, 3 * mixture.steps + 2
    whole = list(made.steps(start, stop))
    assert len(whole) == stop - start
    threaded = list(loader(patch_set, threads=3)[0].steps(start, stop))
    shares = [list(loader(patch_set, share=share)[0].steps(start, stop)) for share in ((0, 10), (10, 24))]
    later = list(made.steps(start + 4, stop))
    for step, batch in enumerate(whole):
        assert [v.shape for v in batch.crops] == [(24, 3, 16, 16), (24, 3, 8, 8)]
        for view in range(2):
            assert torch.equal(batch.crops[view], threaded[step].crops[view])
            assert torch.equal(batch.crops[view], torch.cat([s[step].crops[view] for s in shares]))
            if step >= 4:
                assert torch.equal(batch.crops[view], later[step - 4].crops[view])
        assert torch.equal(batch.labels, torch.cat([s[step].labels for s in shares]))
        assert np.array_equal(batch.keys, np.concatenate([s[step].keys for s in shares]))


def test_several_sources_in_one_stream(make_set, patch_set):
    other = make_set(64, ("x", "y"), key=lambda i: i)
    made, mixture = loader(patch_set, other, weights=[1.0, 3.0])
    batches = list(made.steps(0, mixture.steps))
    sources = torch.cat([batch.sources for batch in batches])
    assert 0.65 < float(sources.double().mean()) < 0.85
    keys = np.concatenate([batch.keys for batch in batches])
    assert set(keys[sources.numpy() == 1].tolist()) <= set(range(64))
    labels = torch.cat([batch.labels for batch in batches])
    assert int(labels[sources == 1].max()) == 1
    assert int(labels[sources == 0].max()) == 2


def test_an_epoch_shows_each_class_as_often_as_there_are_patches(patch_set):
    made, mixture = loader(patch_set, batch=30, share=(0, 30))
    labels = torch.cat([batch.labels for batch in made.steps(0, mixture.steps)])
    assert labels.bincount().tolist() == [100, 100, 100]


def test_views_are_coloured_on_the_device_and_differ_from_epoch_to_epoch(patch_set):
    made, mixture = loader(patch_set)
    painter = Painter(RECIPES, 2, (0.5,) * 3, (0.2,) * 3, torch.device("cpu"))
    first = painter.batch(next(iter(made.steps(0, 1))), 0)
    second = painter.batch(next(iter(made.steps(mixture.steps, mixture.steps + 1))), 1)
    assert [v.dtype for v in first.views] == [torch.float32, torch.float32]
    assert float(first.views[0].min()) >= -2.5 - 1e-6
    assert not torch.equal(first.views[0], second.views[0])
    assert len(first) == 24


def test_draws_of_a_patch_do_not_depend_on_its_batch(patch_set):
    made, _ = loader(patch_set)
    batch = Painter(RECIPES, 2, (0.5,) * 3, (0.2,) * 3, torch.device("cpu")).batch(next(iter(made.steps(0, 1))), 0)
    whole = batch.draws("mask", 5)
    assert whole.shape == (24, 5)
    assert torch.equal(whole, torch.cat([part.draws("mask", 5) for part in batch.parts(4)]))
    assert not torch.equal(whole, batch.draws("other", 5))


def test_a_corrupt_patch_has_a_stand_in_from_its_row_group(make_set):
    from tests.pretrain.conftest import patch_rows

    good = patch_rows(30, ("a", "b"))["image"].to_pylist()
    folder = make_set(30, ("a", "b"), image=lambda i: good[i] if i % 3 else {"bytes": b"none", "path": f"{i}.jpg"})
    whole = next(iter(loader(folder)[0].steps(0, 1)))
    shares = [next(iter(loader(folder, share=share)[0].steps(0, 1))) for share in ((0, 10), (10, 24))]
    assert whole.corrupt
    assert all(int(name.split(".")[0]) % 3 == 0 for name in whole.corrupt)
    assert torch.equal(whole.crops[0], torch.cat([share.crops[0] for share in shares]))
    assert np.array_equal(whole.keys, np.concatenate([share.keys for share in shares]))
    bad = make_set(30, ("a", "b"), image=lambda i: {"bytes": b"none", "path": f"{i}.jpg"})
    with pytest.raises(WorkError, match="no patch of a row group can be decoded"):
        list(loader(bad)[0].steps(0, 1))
