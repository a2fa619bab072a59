from collections.abc import Callable

import pytest
import torch

from raysweep.backbones.checkpoint import load_checkpoint
from raysweep.backbones.create import create_backbone
from raysweep.errors import WorkError
from raysweep.storage import Storage
from raysweep.transfer.feature_maps import feature_maps


def test_tokens_of_a_plain_transformer_without_its_prefix(checkpoint: Callable[..., Storage]) -> None:
    arguments = {"embed_dim": 24, "depth": 8, "num_heads": 2, "reg_tokens": 3}
    backbone = load_checkpoint(checkpoint("test_vit", seed=7, arguments=arguments))[0]
    maps = feature_maps(backbone, "test_vit", arguments)
    assert maps.maps.strides == (16, 16, 16, 16)
    assert maps.maps.channels == (24, 24, 24, 24)
    images = torch.randn(2, 3, 48, 32)
    found = maps(images)
    assert [m.shape for m in found] == [(2, 24, 3, 2)] * 4
    tokens = backbone.forward_features(images)[:, backbone.num_prefix_tokens :]
    torch.testing.assert_close(found[-1].flatten(2).movedim(1, 2), tokens)  # the last block's, normalised
    blocks = []
    for block in backbone.blocks:
        block.register_forward_hook(lambda module, given, out: blocks.append(out))
    found = maps(images)
    for taken, index in zip(found, (1, 3, 5, 7), strict=True):
        expected = backbone.norm(blocks[index])[:, backbone.num_prefix_tokens :]
        torch.testing.assert_close(taken.flatten(2).movedim(1, 2), expected)


@pytest.mark.parametrize(
    ("name", "strides"),
    [
        ("test_resnet", (2, 4, 8, 16, 32)),
        ("test_mambaout", (4, 8, 16, 32)),  # channels last
        ("hiera_tiny_224", (4, 8, 16, 32)),  # timm's own features leave out weights
        ("ghostnet_050", (2, 4, 8, 16, 32)),  # the last blocks come after the last features
        ("legacy_xception", (2, 4, 8, 16, 32)),  # all under `body`
    ],
)
def test_maps_are_of_the_strides_that_they_say(name: str, strides: tuple[int, ...]) -> None:
    px = 224 if "224" in name else 60
    backbone = create_backbone(name, seed=0).eval()
    maps = feature_maps(backbone, name, {}).eval()
    assert maps.maps.strides == strides
    height, width = maps.padded(px, px)
    with torch.no_grad():
        found = maps(torch.zeros(1, 3, px, px))
    assert [tuple(m.shape[1:]) for m in found] == [
        (c, height // s, width // s) for c, s in zip(maps.maps.channels, strides, strict=True)
    ] or name == "legacy_xception"  # its first convolutions have no padding
    weights = {key.replace(".", "_"): value for key, value in backbone.state_dict().items()}
    for key, value in maps.model.state_dict().items():
        assert torch.equal(value, weights[key.removeprefix("body.").replace(".", "_")])


def test_weights_in_the_midst_are_not_left_out() -> None:
    backbone = create_backbone("test_resnet", seed=0)
    backbone.layer1.add_module("extra", torch.nn.Linear(2, 2))
    with pytest.raises(WorkError, match=r"missing: none; without a place: layer1\.extra\.weight, layer1\.extra\.bias"):
        feature_maps(backbone, "test_resnet", {})
    backbone = create_backbone("test_resnet", seed=0)
    backbone.conv1 = torch.nn.Identity()
    with pytest.raises(WorkError, match=r"missing: conv1\..*; without a place: none"):
        feature_maps(backbone, "test_resnet", {})
    backbone = create_backbone("test_resnet", seed=0)
    backbone.bn1 = torch.nn.BatchNorm2d(7)
    with pytest.raises(WorkError, match=r"do not fit its maps of features \(.*size mismatch for bn1"):
        feature_maps(backbone, "test_resnet", {})
