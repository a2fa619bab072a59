import pytest

from raysweep.backbones.machine import flops_per_second
from raysweep.pretrain.inputs import settings
from raysweep.pretrain.spec import CheckpointSpec
from raysweep.pretrain.speed import measure_pretraining


@pytest.mark.parametrize("method", ["supervised", "simclr", "byol", "mocov2"])
def test_a_step_is_measured(method: str) -> None:
    spec = CheckpointSpec(backbone="resnet10t", method=method, patches="x", batch=32)
    chosen = settings(spec)
    assert chosen is not None
    found = measure_pretraining(chosen, "resnet10t", {}, None, 64, rate=flops_per_second(), threads=1)
    assert found.measured
    assert found.patch > 0
    assert found.step > 0


def test_large_ones_are_reckoned() -> None:
    chosen = settings(CheckpointSpec(backbone="vit_large_patch16_224", method="simclr", patches="x"))
    assert chosen is not None
    found = measure_pretraining(chosen, "vit_large_patch16_224", {}, None, 224, rate=1e11, threads=1)
    assert not found.measured
    # two views, three passes of 61 thousand million multiply-adds each and one that only looks
    assert found.patch == pytest.approx(7 * 2 * 61e9 / 0.6e11, rel=0.1)
