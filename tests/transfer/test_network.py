"""The backbone in a network is the checkpoint's, to the bit, for every kind of backbone."""

from collections.abc import Callable

import pytest
import torch

from raysweep.backbones.checkpoint import load_checkpoint
from raysweep.errors import RequestError
from raysweep.storage import Storage
from raysweep.transfer.network import Network, build_network

PYRAMIDS = ["resnet18", "resnet50", "convnext_atto", "efficientnet_b0", "swin_tiny_patch4_window7_224"]
SMALL_SWIN = {"embed_dim": 12, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8]}


def build(folder: Storage, kind: str, px: int = 64, seed: int = 0, decoder: str = "unet") -> Network:
    return build_network(folder, kind, n_classes=3, px=px, dropout=0.0, seed=seed, decoder=decoder)[0]


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


@pytest.mark.parametrize("kind", ["classification", "segmentation"])
@pytest.mark.parametrize(
    ("name", "px", "own"),
    [
        ("test_vit", 40, 48),  # patches of 16 px: the nearest multiple, of two equally near the larger
        ("test_vit", 64, 64),
        ("test_resnet", 40, 40),
        ("test_coatnet", 64, 160),  # one input size only
    ],
)
def test_a_backbone_sees_the_whole_field_of_view_at_its_own_px(
    checkpoint: Callable[..., Storage], kind: str, name: str, px: int, own: int
) -> None:
    network = build(checkpoint(name), kind, px=px, decoder="light").eval()
    assert (network.px, network.own_px) == (px, own)
    seen = []
    network.backbone.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    images = torch.linspace(-1, 1, px).expand(2, 3, px, px).contiguous()  # dark at the left, bright at the right
    logits = network(images)
    assert logits.shape == ((2, 3) if kind == "classification" else (2, 3, px, px))
    assert seen[0].shape == (2, 3, own, own)
    torch.testing.assert_close(seen[0][0, 0, 0], torch.linspace(-1, 1, own), atol=3 / px, rtol=0)


def test_a_vit_with_patches_of_14_px_takes_the_sizes_of_cards(checkpoint: Callable[..., Storage]) -> None:
    folder = checkpoint("test_vit", seed=9, arguments={"patch_size": 14, "img_size": 28})
    own = {px: build(folder, "segmentation", px=px, decoder="linear").own_px for px in (64, 128, 224, 256, 512)}
    assert own == {64: 70, 128: 126, 224: 224, 256: 252, 512: 518}


@pytest.mark.parametrize(("decoder", "says"), [("unet", "no pyramid of features"), ("deeplabv3plus", "no features at")])
def test_a_decoder_that_a_backbone_cannot_have_is_one_sentence(
    checkpoint: Callable[..., Storage], decoder: str, says: str
) -> None:
    match = f"^decoder {decoder} does not fit backbone test_vit: there (is|are) {says}.*; use (deeplabv3 or )?light"
    with pytest.raises(RequestError, match=match):
        build(checkpoint("test_vit"), "segmentation", decoder=decoder)
