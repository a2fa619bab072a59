from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from raysweep.errors import RequestError
from raysweep.storage import Storage
from raysweep.transfer.finetune_run import FinetuneRun
from raysweep.transfer.own_px import output_on_meta, own_px, seen_at
from tests.transfer.tiny import make_job


class Fussy(nn.Module):
    """Takes one size, and says nothing of it."""

    def __init__(self, px: int) -> None:
        super().__init__()
        self._px = px
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        assert images.shape[-1] == self._px, f"{self._px} px or nothing"
        return self.norm(images).mean((2, 3))


def _own(network: nn.Module, px: int, **arguments: object) -> int:
    return own_px(network, network, px, name="fussy", arguments=arguments)


def test_the_cards_px_comes_first_then_the_input_size() -> None:
    assert _own(Fussy(64), 64) == 64
    assert _own(Fussy(224), 64) == 224
    assert _own(Fussy(96), 64, img_size=96) == 96
    assert _own(Fussy(96), 64, img_size=[96, 96]) == 96


def test_a_backbone_that_takes_none_is_one_sentence() -> None:
    with pytest.raises(RequestError, match=r"^backbone fussy cannot take images of 64 px or 224 px \(.*96 px or noth"):
        _own(Fussy(96), 64)


def test_looking_changes_nothing() -> None:
    network = Fussy(32).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert output_on_meta(network, 32).shape == (1, 3)
    assert network.training
    assert network.norm.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_pictures_keep_their_field_of_view() -> None:
    images = torch.linspace(0, 1, 128).expand(1, 3, 128, 128)
    assert seen_at(images, 128, 128) is images
    seen = seen_at(images, 128, 126)
    assert seen.shape == (1, 3, 126, 126)
    torch.testing.assert_close(seen[0, 0, 0], torch.linspace(0, 1, 126), atol=0.01, rtol=0)
    assert seen_at(torch.zeros(1, 3, 256, 64), 128, 126).shape == (1, 3, 252, 63)


@pytest.mark.parametrize(("backbone", "decoder"), [("test_vit", "light"), ("test_resnet", "unet")])
def test_every_backbone_is_scored_on_the_same_pixels(
    checkpoint: Callable[..., Storage], saved_task: Callable[..., Storage], backbone: str, decoder: str
) -> None:
    """Patches of 16 px, a card of 40 px, and images of other sizes: the counts are of the images' own pixels."""
    sizes = [(40, 40), (50, 64), (40, 90), (30, 40)] * 2
    task = saved_task("segmentation", sizes, px=40)
    run = FinetuneRun(make_job(checkpoint(backbone), task, decoder=decoder, steps=2, evaluations=1))
    assert run.advance() is not None
    table = run.predict([6, 7, 1])
    counted = [sum(tp) + sum(fn) for tp, fn in zip(*(table[key].to_pylist() for key in ("tp", "fn")), strict=True)]
    assert counted == [40 * 90, 30 * 40, 50 * 64]
