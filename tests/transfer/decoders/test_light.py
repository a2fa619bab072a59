import torch

from raysweep.transfer.decoder import Maps
from raysweep.transfer.decoders.light import Light, LightOptions


def test_the_same_head_for_a_pyramid_and_for_tokens() -> None:
    def size(strides: tuple[int, ...]) -> int:
        light = Light(Maps((8,) * len(strides), strides), 2, LightOptions())
        return sum(p.numel() for p in light.parameters())

    assert size((4, 8, 16, 32)) == size((16, 16, 16, 16)) == size((2, 4, 8, 16, 32))
    assert size((4, 8, 16, 32)) < 50_000


def test_every_map_of_a_quarter_and_below_counts() -> None:
    light = Light(Maps((3, 4, 5), (2, 4, 16)), 2, LightOptions(width=8)).eval()
    maps = [torch.randn(1, 3 + i, 32 // s, 32 // s) for i, s in enumerate((2, 4, 16))]
    before = light(maps, (32, 32))
    assert before.shape == (1, 2, 32, 32)
    used = [not torch.equal(light([m + (i == j) for j, m in enumerate(maps)], (32, 32)), before) for i in range(3)]
    assert used == [False, True, True]
