import numpy as np
import pytest
import torch

from raysweep.pretrain.batches import ThreadLoader
from raysweep.pretrain.data_path import DataLoader
from raysweep.pretrain.loop import open_rows, plan_steps
from raysweep.pretrain.reader import Reader
from raysweep.storage import Storage
from tests.pretrain.ranks import job


@pytest.mark.slow
def test_ray_data_prepares_what_threads_do_to_the_bit(tmp_path, make_set, ray_session):
    """From the middle of one epoch into the next, a rank's share of two views, and a corrupt patch with its name."""
    from tests.pretrain.conftest import patch_rows

    good = patch_rows(120, ("a", "b"))["image"].to_pylist()
    folder = make_set(120, ("a", "b"), image=lambda i: good[i] if i != 5 else {"bytes": b"none", "path": "5.jpg"})
    work = job(Storage.open(tmp_path), folder, method="simclr", batch=16)
    rows = open_rows(work)
    mixture = plan_steps(work, rows)
    share = (8, 16)
    reader = Reader(rows, work.settings.recipes(32), seed=work.seed, capacity=mixture.groups_to_keep(*share))
    start, stop = 3, mixture.steps + 3
    by_threads = list(ThreadLoader(reader, mixture, share=share).steps(start, stop))
    by_data = list(DataLoader.of(work)(reader, mixture, share).steps(start, stop))
    assert len(by_data) == len(by_threads) == mixture.steps
    for one, other in zip(by_threads, by_data, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.crops, other.crops, strict=True))
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.sources, other.sources)
        assert np.array_equal(one.keys, other.keys)
        assert one.corrupt == other.corrupt
    assert not list(DataLoader.of(work)(reader, mixture, share).steps(stop, stop))
