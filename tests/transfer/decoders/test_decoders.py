"""Every decoder on every kind of backbone: shapes, gradients, and what is refused."""

from collections.abc import Callable

import pytest
import torch

from raysweep.errors import RequestError
from raysweep.storage import Storage
from raysweep.transfer.decoders import check_name, decoder_names, find_decoder, plain
from raysweep.transfer.network import build_network

SMALL_VIT = {"embed_dim": 24, "depth": 4, "num_heads": 2}
SMALL_SWIN = {"embed_dim": 12, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8]}
BACKBONES = {
    "resnet18": {},
    "vit_tiny_patch16_224": SMALL_VIT,
    "swin_tiny_patch4_window7_224": SMALL_SWIN,
    "tf_efficientnet_lite0": {},
}
REFUSED = {("unet", "vit_tiny_patch16_224"), ("deeplabv3plus", "vit_tiny_patch16_224")}
PX = 72  # a multiple of no patch and no stride but 8


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("decoder", decoder_names())
def test_logits_for_every_pixel_and_gradients_for_the_backbone(
    checkpoint: Callable[..., Storage], decoder: str, backbone: str
) -> None:
    folder = checkpoint(backbone, seed=5, arguments=BACKBONES[backbone])

    def build():
        return build_network(folder, "segmentation", n_classes=3, px=PX, dropout=0.0, seed=0, decoder=decoder)[0]

    if (decoder, backbone) in REFUSED:
        with pytest.raises(RequestError, match=f"^decoder {decoder} does not fit backbone {backbone}: .*; use "):
            build()
        return
    network = build().train()
    images = torch.randn(2, 3, PX, PX, generator=torch.Generator().manual_seed(0))
    logits = network(images)
    assert logits.shape == (2, 3, PX, PX)
    logits.square().mean().backward()
    assert all(p.grad is not None for p in network.parameters()), "nothing stands idle"
    first = next(network.backbone.parameters()).grad
    assert first is not None
    assert first.abs().sum() > 0


def test_names_and_options_are_checked() -> None:
    assert decoder_names() == ["deeplabv3", "deeplabv3plus", "fcn", "light", "linear", "unet"]
    assert check_name({"type": "fcn"}) == "fcn"
    with pytest.raises(RequestError, match=r"^there is no decoder u-net; did you mean unet\?"):
        check_name("u-net")
    with pytest.raises(RequestError, match=r"^a decoder's name is missing; give it as type; use one of deeplabv3, "):
        check_name({"width": 3})
    with pytest.raises(RequestError, match=r"^decoder\.widht: light has no such option; it has width"):
        find_decoder({"type": "light", "widht": 3})
    with pytest.raises(RequestError, match=r"^decoder\.width: input should be greater than or equal to 4 \(given: 3"):
        find_decoder({"type": "light", "width": 3})


def test_a_choice_has_one_way_to_be_said() -> None:
    assert plain("light") == plain({"type": "light"}) == plain({"type": "light", "width": 64}) == "light"
    assert plain({"type": "light", "width": 32}) == {"type": "light", "width": 32}


def test_a_new_decoder_is_a_class_and_a_sequence_of_draws(checkpoint: Callable[..., Storage]) -> None:
    folder = checkpoint("test_resnet")
    for decoder in decoder_names():
        before = torch.random.get_rng_state()
        one, two, other = (
            build_network(folder, "segmentation", n_classes=2, px=32, dropout=0.0, seed=seed, decoder=decoder)[0]
            for seed in (0, 0, 1)
        )
        assert torch.equal(torch.random.get_rng_state(), before)
        first, again, another = (network.head.state_dict() for network in (one, two, other))
        assert all(torch.equal(first[key], again[key]) for key in first), decoder
        assert any(not torch.equal(first[key], another[key]) for key in first), decoder
