"""DeepLabV3 and DeepLabV3+: where the features are dilated, and what they are joined with."""

from collections.abc import Callable

import pytest
import torch

from raysweep.backbones.checkpoint import load_checkpoint
from raysweep.storage import Storage
from raysweep.transfer.decoder import Maps
from raysweep.transfer.decoders.deeplabv3plus import DeepLabV3Plus
from raysweep.transfer.dilated import DilatedOptions, rates_at
from raysweep.transfer.network import build_network


def test_rates_reach_equally_far_in_the_picture() -> None:
    assert rates_at(16) == (6, 12, 18)  # Chen et al. 2017, section 3.3
    assert rates_at(8) == (12, 24, 36)
    assert rates_at(32) == (3, 6, 9)
    assert rates_at(64) == (2, 3, 4)


@pytest.mark.parametrize("decoder", ["deeplabv3", "deeplabv3plus"])
@pytest.mark.parametrize(("backbone", "strides"), [("test_resnet", (8, 16)), ("test_mambaout", (32, 32))])
def test_features_are_dilated_where_a_backbone_can_be(
    checkpoint: Callable[..., Storage], decoder: str, backbone: str, strides: tuple[int, int]
) -> None:
    stored = load_checkpoint(checkpoint(backbone))[0].state_dict()
    joined = {key.replace(".", "_"): value for key, value in stored.items()}
    for asked, stride in zip((8, 16), strides, strict=True):
        choice = {"type": decoder, "output_stride": asked, "channels": 16}
        network = build_network(checkpoint(backbone), "segmentation", n_classes=2, px=64, dropout=0.0, seed=0,
                                decoder=choice)[0]  # fmt: skip
        maps = network.backbone(torch.zeros(1, 3, 64, 64))
        assert [64 // m.shape[-1] for m in maps][-1] == stride == network.backbone.maps.strides[-1]
        for key, value in network.backbone.model.state_dict().items():
            assert torch.equal(value, joined[key.replace(".", "_")]), "dilated or not, the checkpoint's to the bit"


def test_the_plus_joins_the_deepest_with_those_at_a_quarter() -> None:
    decoder = DeepLabV3Plus(Maps((3, 4, 5, 6), (2, 4, 8, 16)), 2, DilatedOptions(channels=8)).eval()
    maps = [torch.randn(1, 3 + i, 64 // s, 64 // s) for i, s in enumerate((2, 4, 8, 16))]
    before = decoder(maps, (64, 64))
    used = [not torch.equal(decoder([m + (i == j) for j, m in enumerate(maps)], (64, 64)), before) for i in range(4)]
    assert used == [False, True, False, True]
