"""Two ranks do what one does."""

import json

import pytest
import torch
from safetensors.torch import load

from raysweep.backbones.checkpoint import FILE
from raysweep.storage import Storage
from tests.pretrain import ranks


@pytest.mark.parametrize("method", ["supervised", "simclr"])
def test_two_ranks_equal_one_without_batch_statistics(method, tmp_path, patch_set, pair):
    keys = {"method": method, "optimizer": "sgd", "lr": 0.05, "epochs": 2}
    one, two = Storage.open(tmp_path / "one"), Storage.open(tmp_path / "two")
    ranks.run_plain(ranks.job(one, patch_set, **keys))
    pair.run("run_plain", ranks.job(two, patch_set, **keys))

    start = load(one.read_bytes("resume", "start", FILE))
    alone, shared = load(one.read_bytes(FILE)), load(two.read_bytes(FILE))
    moved = max((alone[name] - start[name]).abs().max().item() for name in alone)
    apart = max((alone[name] - shared[name]).abs().max().item() for name in alone)
    assert moved > 1e-2
    assert apart < 1e-4 * moved + 1e-6
    losses = [[json.loads(x)["loss"] for x in out.read_bytes("metrics.jsonl").splitlines()] for out in (one, two)]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-5)


def test_two_ranks_repeat_themselves_to_the_bit(tmp_path, patch_set, pair):
    files = []
    for name in ("first", "again"):
        out = Storage.open(tmp_path / name)
        pair.run("run", ranks.job(out, patch_set, backbone="test_resnet", method="simclr", epochs=1))
        files.append(out.read_bytes(FILE))
    assert files[0] == files[1]


@pytest.mark.slow
def test_three_ranks_go_on_to_the_same_bytes(tmp_path, patch_set, three):
    """Three summands: their order matters, and torch must not change it after the first step."""
    keys = {"backbone": "resnet18", "batch": 48, "optimizer": "sgd", "lr": 0.05}
    whole, parts = Storage.open(tmp_path / "whole"), Storage.open(tmp_path / "parts")
    three.run("run", ranks.job(whole, patch_set, **keys))
    three.run("run_in_two_parts", ranks.job(parts, patch_set, **keys), str(tmp_path / "state.pt"))
    assert whole.read_bytes(FILE) == parts.read_bytes(FILE)
