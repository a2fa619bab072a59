import pytest
import torch

from raysweep.backbones.machine import flops_per_second
from raysweep.sweep.space import load_space
from raysweep.transfer import speed
from raysweep.transfer.fit_speed import fit_seconds
from raysweep.transfer.frozen import FrozenProtocol
from raysweep.transfer.protocol import get_protocol
from raysweep.transfer.speed import measure_features, measure_finetuning
from raysweep.transfer.speed_record import Architecture

SMALL = Architecture("resnet10t", {}, None, 64)


@pytest.fixture(scope="module")
def rate() -> float:
    return flops_per_second()


def test_small_networks_are_measured(rate: float) -> None:
    for of in (SMALL, Architecture("resnet10t", {}, None, 64, "segmentation", "unet")):
        found = measure_finetuning(of, rate=rate, threads=1)
        assert found.measured
        assert 0 < found.inference < found.training
        assert found.step > 0
        assert found.start > 0
        assert found.parameters > 4e6
    assert measure_features(SMALL, rate=rate, threads=1).width == 512


def test_large_ones_are_reckoned_and_never_made(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = speed.create_backbone

    def watched(*args: object, **keys: object) -> torch.nn.Module:
        network = real(*args, **keys)  # type: ignore[arg-type]
        made.extend(p.device.type for p in network.parameters())
        return network

    monkeypatch.setattr(speed, "create_backbone", watched)
    found = measure_finetuning(Architecture("vit_giant_patch14_dinov2", {}, None, 224), rate=rate, threads=1)
    assert set(made) == {"meta"}
    assert not found.measured
    assert found.parameters > 1.1e9
    # 261 thousand million multiply-adds (timm's results table says 267 with 518-px extras left out), three passes
    assert found.training * rate * speed.WORTH / 3 == pytest.approx(2 * 267e9, rel=0.15)


@pytest.mark.parametrize("name", ["linear", "svm", "knn"])
def test_fits_of_more_images_take_longer(name: str) -> None:
    protocol = get_protocol(name)
    assert isinstance(protocol, FrozenProtocol)
    values = next(iter(load_space(name, "classification", {}, []).values()))["values"]
    few, many = (fit_seconds(protocol, values, n=n, width=512, n_classes=2) for n in (200, 200_000))
    assert 0 < few < many / 50
