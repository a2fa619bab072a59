import json

import pytest
import torch

from raysweep.backbones.checkpoint import FILE, load_checkpoint
from raysweep.pretrain.inputs import Settings
from raysweep.pretrain.log import Log
from raysweep.pretrain.loop import _learning_rate, _optimizer, train
from raysweep.storage import Storage
from tests.pretrain.ranks import job


@pytest.fixture
def out(tmp_path) -> Storage:
    return Storage.open(tmp_path / "out")


@pytest.mark.parametrize("method", ["supervised", "simclr"])
def test_the_loss_goes_down(method, out, patch_set, keeper):
    keys = {"epochs": 4, "lr": 3e-3, "batch": 30}
    kept = keeper()
    train(job(out, patch_set, backbone="test_resnet", method=method, **keys), kept)
    losses = [metrics["loss"] for metrics in kept.metrics]
    assert losses[-1] < losses[0] - 0.15
    if method == "supervised":
        assert kept.metrics[-1]["accuracy"] > 0.6


def test_metrics_events_and_weights_are_written(out, patch_set, keeper):
    kept = keeper()
    work = job(out, patch_set)
    train(work, kept)
    lines = [json.loads(line) for line in out.read_bytes("metrics.jsonl").splitlines()]
    assert lines == kept.metrics
    assert [line["epoch"] for line in lines] == [1, 2]
    assert {"loss", "accuracy", "lr", "images", "epoch_seconds", "wait_seconds"} <= lines[0].keys()
    assert lines[0]["images"] == 300 // 32 * 32
    assert any(name.startswith("events.out.tfevents") for name in out.names("tensorboard"))
    model, info = load_checkpoint(out)
    assert info == work.info
    start, _ = load_checkpoint(work.start)
    assert not torch.equal(next(model.parameters()), next(start.parameters()))


@pytest.mark.parametrize(("method", "optimizer"), [("supervised", "sgd"), ("simclr", "adamw")])
def test_going_on_after_a_death_gives_the_same_bytes(method, optimizer, tmp_path, patch_set, keeper, monkeypatch):
    keys = {"backbone": "test_resnet", "method": method, "optimizer": optimizer, "epochs": 3, "batch": 50}
    whole = Storage.open(tmp_path / "whole")
    train(job(whole, patch_set, **keys), keeper())

    broken = Storage.open(tmp_path / "broken")
    kept = keeper(dies_after=1)
    with pytest.raises(KeyboardInterrupt):  # after the first epoch
        train(job(broken, patch_set, **keys), kept)

    def die(self, images):
        if images > 450:  # in the middle of the second
            raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Log, "step", die)
        with pytest.raises(MemoryError):
            train(job(broken, patch_set, **keys), kept)
    assert len(kept.metrics) == 1
    kept.dies_after = None
    train(job(broken, patch_set, **keys), kept)

    assert broken.read_bytes(FILE) == whole.read_bytes(FILE)

    def figures(folder: Storage) -> list[dict]:
        lines = [json.loads(line) for line in folder.read_bytes("metrics.jsonl").splitlines()]
        return [{k: v for k, v in line.items() if not k.endswith("_seconds")} for line in lines]

    assert figures(broken) == figures(whole)


def test_a_finished_training_is_not_repeated(out, patch_set, keeper):
    kept = keeper()
    train(job(out, patch_set), kept)
    first = out.read_bytes(FILE)
    out.remove(FILE)
    train(job(out, patch_set), kept)
    assert len(kept.metrics) == 2
    assert out.read_bytes(FILE) == first


def test_seeds_give_other_weights(tmp_path, patch_set, keeper):
    files = []
    for seed in (0, 1):
        out = Storage.open(tmp_path / str(seed))
        train(job(out, patch_set, seed=seed, epochs=1), keeper())
        files.append(out.read_bytes(FILE))
    assert files[0] != files[1]


def test_the_network_sees_px(out, patch_set, keeper):
    train(job(out, patch_set, epochs=1, px=16), keeper())
    assert out.exists(FILE)


def plan(**keys) -> Settings:
    return Settings(
        **{"method": "simclr", "options": {}, "epochs": 1, "batch": 8, "px": None, "optimizer": "adamw", "lr": 2.0,
           "weight_decay": 0.1, "warmup": 0.1, **keys}
    )  # fmt: skip


def test_the_learning_rate_warms_up_and_falls_to_nothing():
    rates = [_learning_rate(step, 100, plan()) for step in range(100)]
    assert rates[0] == pytest.approx(2 / 11)
    assert rates[10] == pytest.approx(2.0)
    assert max(rates) == pytest.approx(2.0)
    assert rates == sorted(rates[:11]) + sorted(rates[11:], reverse=True)
    assert rates[55] == pytest.approx(1.0)
    assert 0 < rates[-1] < 0.01
    assert _learning_rate(0, 1, plan(warmup=0.0)) == 2.0


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_norms_and_biases_are_not_decayed(name, kind):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))
    optimizer = _optimizer(model, plan(optimizer=name))
    assert isinstance(optimizer, kind)
    decayed, free = optimizer.param_groups
    assert (len(decayed["params"]), decayed["weight_decay"]) == (2, 0.1)
    assert (len(free["params"]), free["weight_decay"]) == (4, 0.0)
