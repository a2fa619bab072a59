import torch

from raysweep.transfer.decoder import Maps
from raysweep.transfer.decoders.fcn import FCN, FCNOptions


def test_torchvisions_head_on_the_deepest_features() -> None:
    """As Kawai's: a quarter of the channels, no auxiliary head, bilinear enlargement."""
    fcn = FCN(Maps((4, 64), (4, 32)), 6, FCNOptions()).eval()
    maps = [torch.randn(1, 4, 16, 16), torch.randn(1, 64, 2, 2)]
    assert fcn.logits[0].weight.shape == (16, 64, 3, 3)
    logits = fcn(maps, (64, 64))
    assert logits.shape == (1, 6, 64, 64)
    small = fcn.logits(maps[1])
    torch.testing.assert_close(logits.mean((2, 3)), small.mean((2, 3)))
    assert torch.equal(fcn([maps[0] + 1, maps[1]], (64, 64)), logits)
