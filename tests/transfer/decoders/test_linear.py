import torch

from raysweep.transfer.decoder import Maps
from raysweep.transfer.decoders.linear import Linear, LinearOptions


def test_a_cell_decides_by_itself() -> None:
    linear = Linear(Maps((4, 6), (4, 16)), 3, LinearOptions()).eval()
    maps = [torch.randn(1, 4, 8, 8), torch.zeros(1, 6, 2, 2)]
    before = linear(maps, (32, 32))
    maps[1][0, :, 0, 0] = 5
    after = linear(maps, (32, 32))
    assert before.shape == (1, 3, 32, 32)
    assert not torch.equal(after[..., 0, 0], before[..., 0, 0])
    assert torch.equal(after[..., -1, -1], before[..., -1, -1]), "far from the cell nothing changes"
    assert sum(p.numel() for p in linear.parameters()) == 6 * 3 + 3 + 2 * 6
