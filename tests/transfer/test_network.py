"""The backbone in a network is the checkpoint's, to the bit, for every kind of backbone."""

from collections.abc import Callable

import pytest
import torch

from raysweep.backbones.checkpoint import load_checkpoint
from raysweep.errors import RequestError, WorkError
from raysweep.storage import Storage
from raysweep.transfer.network import Network, build_network, decoder_channels

PYRAMIDS = ["resnet18", "resnet50", "convnext_atto", "efficientnet_b0", "swin_tiny_patch4_window7_224"]
SMALL_SWIN = {"embed_dim": 12, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8]}


def build(folder: Storage, kind: str, px: int = 64, seed: int = 0, dropout: float = 0.0) -> Network:
    return build_network(folder, kind, n_classes=3, px=px, dropout=dropout, seed=seed)[0]


@pytest.mark.parametrize("name", PYRAMIDS)
def test_the_encoder_of_a_unet_is_the_checkpoints_to_the_bit(checkpoint: Callable[..., Storage], name: str) -> None:
    folder = checkpoint(name, seed=3, arguments=SMALL_SWIN if "swin" in name else None)
    stored = load_checkpoint(folder)[0].state_dict()
    network = build(folder, "segmentation")
    loaded = network.backbone.model.state_dict()  # type: ignore[union-attr]
    joined = {key.replace(".", "_"): value for key, value in stored.items()}
    assert len(joined) == len(stored)
    for key, value in loaded.items():
        assert torch.equal(value, joined.pop(key.replace(".", "_")))
    assert {key.split("_")[0] for key in joined} <= {"head", "conv", "bn2", "norm"}  # what follows the last stage
    assert len(joined) <= 7
    network.eval()
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 3, 64, 64)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet", "test_vit"])
def test_a_classifier_keeps_the_backbone_and_takes_its_features(checkpoint: Callable[..., Storage], name: str) -> None:
    folder = checkpoint(name)
    network = build(folder, "classification").eval()
    stored = load_checkpoint(folder)[0]
    for key, value in network.backbone.state_dict().items():
        assert torch.equal(value, stored.state_dict()[key])
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(images), network.head(stored(images)))
    assert network(images).shape == (2, 3)


@pytest.mark.parametrize("kind", ["classification", "segmentation"])
def test_the_head_is_a_function_of_the_seed_alone(checkpoint: Callable[..., Storage], kind: str) -> None:
    folder = checkpoint("test_resnet")
    before = torch.random.get_rng_state()
    one, two, other = (build(folder, kind, seed=seed).head.state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_a_unet_takes_any_size(checkpoint: Callable[..., Storage]) -> None:
    network = build(checkpoint("test_resnet"), "segmentation", px=16).eval()
    for height, width in ((16, 16), (40, 50)):
        assert network(torch.zeros(1, 3, height, width)).shape == (1, 3, height, width)


def test_a_backbone_without_a_pyramid_is_one_sentence(checkpoint: Callable[..., Storage]) -> None:
    with pytest.raises(RequestError, match=r"^backbone test_vit has no pyramid of features .* use a convolutional"):
        build(checkpoint("test_vit"), "segmentation")


def test_a_backbone_of_one_input_size_is_one_sentence(checkpoint: Callable[..., Storage]) -> None:
    for kind in ("classification", "segmentation"):
        with pytest.raises(RequestError, match=r"^backbone test_coatnet cannot take images of 64 px .* the card's px"):
            build(checkpoint("test_coatnet"), kind)


def test_weights_that_fit_only_in_part_are_refused_by_name(
    checkpoint: Callable[..., Storage], monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    backbone, info = load_checkpoint(checkpoint("test_resnet"))
    backbone.layer1.add_module("extra", torch.nn.Linear(2, 2))
    monkeypatch.setattr("raysweep.transfer.network.load_checkpoint", lambda folder: (backbone, info))
    with pytest.raises(WorkError, match=r"missing: none; without a place: layer1\.extra\.weight, layer1\.extra\.bias"):
        build(checkpoint("test_resnet"), "segmentation")
    del backbone.layer1, backbone.conv1
    with pytest.raises(WorkError, match=r"missing: conv1\..* and \d+ more; without a place: none"):
        build(checkpoint("test_resnet"), "segmentation")


def test_decoders_are_as_slim_as_their_backbone() -> None:
    assert decoder_channels(512) == (64, 32, 16, 16, 8)
    assert decoder_channels(768) == (96, 48, 24, 24, 12)
    assert decoder_channels(2048) == (256, 128, 64, 64, 32)
