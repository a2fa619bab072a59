import json
import math

import numpy as np
import pytest
import torch

from raysweep.backbones.checkpoint import FILE, load_checkpoint
from raysweep.errors import WorkError
from raysweep.pretrain import loop
from raysweep.pretrain.log import CORRUPT, Log
from raysweep.pretrain.loop import train
from raysweep.pretrain.states import States
from raysweep.storage import Storage
from tests.bucket import serve_bucket
from tests.pretrain.ranks import job, run_in_two_parts


@pytest.fixture
def out(tmp_path) -> Storage:
    return Storage.open(tmp_path / "out")


def lines(folder: Storage) -> list[dict]:
    return [json.loads(line) for line in folder.read_bytes("metrics.jsonl").splitlines()]


@pytest.mark.parametrize("method", ["supervised", "simclr"])
def test_the_loss_goes_down(method, out, patch_set):
    train(job(out, patch_set, backbone="test_resnet", method=method, epochs=4, lr=3e-3, batch=30))
    losses = [line["loss"] for line in lines(out)]
    assert losses[-1] < losses[0] - 0.15
    if method == "supervised":
        assert lines(out)[-1]["accuracy"] > 0.6


def test_metrics_events_and_weights_are_written(out, patch_set):
    work = job(out, patch_set)
    train(work)
    written = lines(out)
    assert [line["epoch"] for line in written] == [1, 2]
    assert {"loss", "accuracy", "gradient_norm", "spread", "lr", "images", "epoch_seconds"} <= written[0].keys()
    assert 0 < written[0]["spread"] <= 1
    assert written[0]["images"] == 300 // 32 * 32
    assert any(name.startswith("events.out.tfevents") for name in out.names("tensorboard"))
    model, info = load_checkpoint(out)
    assert info == work.info
    start, _ = load_checkpoint(work.start)
    assert not torch.equal(next(model.parameters()), next(start.parameters()))


@pytest.mark.parametrize(
    ("method", "optimizer", "dies_at"), [("supervised", "sgd", 6), ("simclr", "adamw", 3), ("simclr", "adamw", 9)]
)
def test_going_on_after_a_death_gives_the_same_bytes(method, optimizer, dies_at, tmp_path, patch_set):
    """In the middle of an epoch, at its end, in the next one; a step is never trained twice beyond the last state."""
    keys = {
        "backbone": "test_resnet", "method": method, "optimizer": optimizer, "epochs": 2, "batch": 50, "save": 3,
    }  # fmt: skip
    whole, parts = Storage.open(tmp_path / "whole"), Storage.open(tmp_path / "parts")
    train(job(whole, patch_set, **keys))
    run_in_two_parts(job(parts, patch_set, **keys), dies_at)
    assert not parts.exists(FILE)
    train(job(parts, patch_set, **keys))
    assert parts.read_bytes(FILE) == whole.read_bytes(FILE)

    def figures(folder: Storage) -> list[dict]:
        return [{k: v for k, v in line.items() if not k.endswith("_seconds")} for line in lines(folder)]

    assert figures(parts) == figures(whole)


def test_a_resumed_training_repeats_no_step(tmp_path, patch_set, monkeypatch):
    seen: list[int] = []
    monkeypatch.setattr(Log, "step", lambda self, images, **now: seen.append(images // 50))
    out = Storage.open(tmp_path / "out")
    work = job(out, patch_set, backbone="test_resnet", epochs=2, batch=50, save=4)
    run_in_two_parts(work, 8)
    train(work)
    assert seen == list(range(1, 13))


def test_a_state_is_kept_when_a_node_is_about_to_leave(tmp_path, patch_set, monkeypatch):
    """Once for each node, at the next look at what all ranks agree on; the weights are what they would have been."""
    keys = {"backbone": "test_resnet", "epochs": 2, "batch": 50}
    monkeypatch.setattr(loop, "_CHECK_STEPS", 2)
    kept: list[int] = []
    save = States.save
    monkeypatch.setattr(States, "save", lambda self, step, state: (kept.append(step), save(self, step, state))[1])
    looks = iter([[], ["a"], ["a"], ["a"], ["a", "b"], ["a", "b"], ["b"]])
    whole, left = Storage.open(tmp_path / "whole"), Storage.open(tmp_path / "left")
    train(job(whole, patch_set, **keys))
    assert kept == []  # no state is due within minutes
    train(job(left, patch_set, **keys), leaving=lambda: next(looks))
    assert kept == [4, 10]  # looks are after every second of 12 steps
    assert left.read_bytes(FILE) == whole.read_bytes(FILE)


def test_a_budget_in_steps_ends_in_the_middle_of_an_epoch(out, patch_set):
    train(job(out, patch_set, epochs=None, steps=13, batch=30))
    assert [line["images"] for line in lines(out)] == [300, 90]


def test_what_is_not_finite_ends_the_training_and_keeps_the_state_before(out, patch_set):
    """A rate that blows the weights up: no checkpoint, the step and what to try are named, the last state is sound."""
    keys = {"backbone": "test_resnet", "optimizer": "sgd", "batch": 10, "epochs": 2}
    work = job(out, patch_set, **keys, lr=1e12, warmup=0.0)
    with pytest.raises(WorkError, match=r"diverged at step \d+: .*try lr below 1e\+12, clip: 1.0 or a longer warmup"):
        train(work)
    assert not out.exists(FILE)
    assert States(out.at("resume", "states")).last() is None


def test_a_sound_state_is_not_overwritten_by_a_broken_one(out, patch_set, monkeypatch):
    keys = {"backbone": "test_resnet", "optimizer": "sgd", "batch": 10, "epochs": 2, "save": 5, "lr": 0.01}
    work = job(out, patch_set, **keys)
    from raysweep.pretrain.optimiser import Optimiser

    lead = Optimiser.lead

    def wild(self: Optimiser, progress) -> float:
        lr = lead(self, progress)
        if progress.step >= 12:
            for group in self.torch.param_groups:
                group["lr"] = 1e30
        return lr

    monkeypatch.setattr(Optimiser, "lead", wild)
    with pytest.raises(WorkError, match=r"diverged at step 1[3-5]:"):
        train(work)
    state = States(out.at("resume", "states")).last()
    assert state is not None
    assert state["step"] == 10
    assert all(bool(torch.isfinite(value).all()) for value in state["module"].values())


def test_a_corrupt_patch_is_skipped_and_named(out, make_set):
    """The next of its row group stands in for it, for whoever asks; the training goes on."""
    from tests.pretrain.conftest import patch_rows

    good = patch_rows(60, ("a", "b"))["image"].to_pylist()
    folder = make_set(
        60, ("a", "b"), image=lambda i: {"bytes": b"no picture", "path": f"{i}.jpg"} if i == 7 else good[i]
    )
    train(job(out, folder, batch=20, epochs=1))
    (named,) = out.read_json(*CORRUPT)
    assert named.startswith("7.jpg: picture cannot be decoded")
    assert math.isfinite(lines(out)[0]["loss"])


def test_seeds_give_other_weights(tmp_path, patch_set):
    files = []
    for seed in (0, 1):
        out = Storage.open(tmp_path / str(seed))
        train(job(out, patch_set, seed=seed, epochs=1))
        files.append(out.read_bytes(FILE))
    assert files[0] != files[1]


def test_the_network_sees_px(out, patch_set):
    train(job(out, patch_set, epochs=1, px=16))
    assert out.exists(FILE)


def test_accumulating_equals_the_whole_batch(tmp_path, patch_set):
    """A vision transformer looks at no batch, and the loss is a mean over samples."""
    weights = []
    for parts in (1, 4):
        out = Storage.open(tmp_path / str(parts))
        train(job(out, patch_set, optimizer="sgd", lr=0.05, epochs=1, accumulate=parts))
        model, _ = load_checkpoint(out)
        weights.append(np.concatenate([p.detach().numpy().ravel() for p in model.parameters()]))
    np.testing.assert_allclose(weights[0], weights[1], atol=1e-5)


@pytest.mark.parametrize(("policy", "moved"), [("keep", True), ("freeze", False)])
def test_frozen_norms_keep_their_statistics_and_train_their_scale(policy, moved, out, patch_set):
    work = job(out, patch_set, backbone="test_resnet", epochs=1, batch_norm=policy)
    train(work)
    start, end = load_checkpoint(work.start)[0].state_dict(), load_checkpoint(out)[0].state_dict()
    statistics = [name for name in end if name.endswith(("running_mean", "running_var"))]
    assert all(torch.equal(start[name], end[name]) != moved for name in statistics)
    assert not torch.equal(start["layer1.0.bn1.weight"], end["layer1.0.bn1.weight"])


def test_everything_may_stand_in_object_storage(tmp_path, patch_set):
    """Shards, states and the checkpoint: the same weights as on disk, and it goes on from a state there."""
    local = Storage.open(tmp_path / "local")
    keys = {"backbone": "test_resnet", "epochs": 1, "batch": 50, "save": 2}
    train(job(local, patch_set, **keys))
    with serve_bucket() as bucket:
        shards = Storage.open(bucket.address("patches"))
        for name in ("manifest.json", "shards.json", "slides.parquet"):
            shards.write_bytes(patch_set.read_bytes(name), name)
        for name in patch_set.names("shards"):
            shards.write_bytes(patch_set.read_bytes("shards", name), "shards", name)
        out = Storage.open(bucket.address("out"))
        run_in_two_parts(job(out, shards, **keys), 4)
        assert not out.exists(FILE)
        train(job(out, shards, **keys))
        assert out.read_bytes(FILE) == local.read_bytes(FILE)
