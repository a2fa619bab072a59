import pytest
import torch

from raysweep.errors import RequestError
from raysweep.transfer.decoder import Maps
from raysweep.transfer.decoders.unet import UNet, UNetOptions, block_widths


def _maps(strides: tuple[int, ...], px: int) -> list[torch.Tensor]:
    return [torch.randn(2, 4 + i, px // s, px // s) for i, s in enumerate(strides)]


def test_it_is_as_slim_as_its_backbone() -> None:
    assert block_widths(512) == (64, 32, 16, 16, 8)
    assert block_widths(768) == (96, 48, 24, 24, 12)
    assert block_widths(2048) == (256, 128, 64, 64, 32)
    assert block_widths(512, 4) == (32, 16, 16, 8)
    assert block_widths(512, 6) == (64, 64, 32, 16, 16, 8)


@pytest.mark.parametrize("strides", [(2, 4, 8, 16, 32), (4, 8, 16, 32), (1, 2, 4, 8), (4, 8, 16), (8, 16, 64)])
def test_pyramids_of_any_depth_and_with_gaps(strides: tuple[int, ...]) -> None:
    maps = Maps(tuple(4 + i for i in range(len(strides))), strides)
    assert not UNet.why_not(maps)
    unet = UNet(maps, 3, UNetOptions()).eval()
    given = _maps(strides, 64)
    before = unet(given, (64, 64))
    assert before.shape == (2, 3, 64, 64)
    for i in range(len(given) if strides[0] > 1 else 0):  # every map is used (a stride of 1 is the picture's own)
        changed = [m + 1 if i == j else m for j, m in enumerate(given)]
        assert not torch.equal(unet(changed, (64, 64)), before), strides[i]


def test_widths_as_told() -> None:
    maps = Maps((4, 5, 6), (4, 8, 16))
    unet = UNet(maps, 2, UNetOptions(channels=[12, 10, 8, 6]))
    assert [block.conv1[0].out_channels for block in unet.decoder.blocks] == [12, 10, 8, 6]
    with pytest.raises(RequestError, match=r"^decoder\.channels: the deepest features are at 1/16, so give 4 widths"):
        UNet(maps, 2, UNetOptions(channels=[12, 10]))


@pytest.mark.parametrize("strides", [(16, 16, 16, 16), (7, 14), (2, 4, 8, 16, 16), (4,)])
def test_what_is_no_pyramid_is_refused(strides: tuple[int, ...]) -> None:
    assert "; use light, which takes every backbone" in UNet.why_not(Maps((8,) * len(strides), strides))
