"""Two ranks do what one does, over whole trainings."""

import json

import pytest
import torch
from safetensors.torch import load

from raysweep.backbones.checkpoint import FILE
from raysweep.storage import Storage
from tests.pretrain import ranks


@pytest.mark.parametrize(
    ("backbone", "lr", "norms", "near"),
    [
        ("test_vit", 0.05, "keep", 1e-4),
        ("test_resnet", 0.002, "keep", 1e-2),
        ("test_resnet", 0.002, "recalibrate", 1e-2),
    ],
)
def test_two_ranks_equal_one(backbone, lr, norms, near, tmp_path, patch_set, pair):
    """A whole epoch in float32, whose rounding batch normalisation enlarges; `test_methods.py` compares exactly."""
    keys = {"backbone": backbone, "optimizer": "sgd", "lr": lr, "epochs": 1, "batch_norm": norms}
    one, two = Storage.open(tmp_path / "one"), Storage.open(tmp_path / "two")
    ranks.run(ranks.job(one, patch_set, **keys))
    pair.run("run", ranks.job(two, patch_set, **keys))

    start = load(one.read_bytes("resume", "start", FILE))
    alone, shared = load(one.read_bytes(FILE)), load(two.read_bytes(FILE))
    assert alone.keys() == shared.keys()
    moved = max((alone[name] - start[name]).abs().max().item() for name in alone if "num_batches" not in name)
    apart = max((alone[name] - shared[name]).abs().max().item() for name in alone)
    assert moved > 1e-3
    assert apart < near * moved
    losses = [[json.loads(x)["loss"] for x in out.read_bytes("metrics.jsonl").splitlines()] for out in (one, two)]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-4)


def test_two_ranks_repeat_themselves_to_the_bit_and_go_on_to_the_same(tmp_path, patch_set, pair):
    keys = {"backbone": "test_resnet", "method": "simclr", "epochs": 1, "save": 3}
    whole, parts = Storage.open(tmp_path / "whole"), Storage.open(tmp_path / "parts")
    pair.run("run", ranks.job(whole, patch_set, **keys))
    pair.run("run", ranks.job(parts, patch_set, **keys))
    assert parts.read_bytes(FILE) == whole.read_bytes(FILE)
    parts.remove(FILE)
    for name in parts.names("resume", "states"):
        if name != "step-000000006.pt":
            parts.remove("resume", "states", name)
    pair.run("run", ranks.job(parts, patch_set, **keys))
    assert parts.read_bytes(FILE) == whole.read_bytes(FILE)
    lines = [out.read_bytes("metrics.jsonl") for out in (whole, parts)]
    assert json.loads(lines[0])["loss"] == json.loads(lines[1])["loss"]


@pytest.mark.long
def test_three_ranks_go_on_to_the_same_bytes(tmp_path, patch_set, three):
    """Three summands: their order matters, and torch must not change it after the first step."""
    keys = {"backbone": "resnet18", "batch": 48, "optimizer": "sgd", "lr": 0.05, "save": 5}
    whole, parts = Storage.open(tmp_path / "whole"), Storage.open(tmp_path / "parts")
    three.run("run", ranks.job(whole, patch_set, **keys))
    three.run("run", ranks.job(parts, patch_set, **keys))
    parts.remove(FILE)
    parts.remove("resume", "states", "step-000000010.pt")
    three.run("run", ranks.job(parts, patch_set, **keys))
    assert whole.read_bytes(FILE) == parts.read_bytes(FILE)
