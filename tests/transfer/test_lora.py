from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from raysweep.backbones.create import create_backbone
from raysweep.errors import RequestError
from raysweep.storage import Storage
from raysweep.transfer.lora import add_adapters, merge_adapters
from raysweep.transfer.network import build_network


def _backbone(folder: Storage) -> nn.Module:
    return build_network(folder, "classification", n_classes=2, px=64, dropout=0.0, seed=0)[0].backbone.eval()


def test_adapters_change_nothing_until_they_are_trained_and_only_they_are(checkpoint: Callable[..., Storage]) -> None:
    images = torch.randn(2, 3, 64, 64)
    plain, adapted, again, other = (_backbone(checkpoint("test_vit")) for _ in range(4))
    weights = sum(p.numel() for p in plain.parameters())
    linear = [name for name, module in plain.named_modules() if isinstance(module, nn.Linear)]
    for network, seed in ((adapted, 1), (again, 1), (other, 2)):
        add_adapters(network, rank=3, scale=2.0, seed=seed, name="test_vit")
    torch.testing.assert_close(adapted(images), plain(images))
    trained = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * len(linear) > 0
    assert {name.split(".lora_")[0] for name in trained} == set(linear)
    assert {min(p.shape) for p in trained.values()} == {3}
    assert sum(p.numel() for p in adapted.parameters() if not p.requires_grad) == weights
    for name, parameter in again.named_parameters():
        torch.testing.assert_close(parameter, adapted.get_parameter(name), rtol=0, atol=0)
    assert any(not torch.equal(p, other.get_parameter(name)) for name, p in trained.items())


_NARROW = {"depth": 1, "embed_dim": 48, "num_heads": 3}
_WINDOWS = {"embed_dim": 24, "depths": (1, 1), "num_heads": (1, 2)}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vit_tiny_patch16_224", _NARROW),
        ("deit_tiny_patch16_224", _NARROW),
        ("deit3_small_patch16_224", _NARROW),
        ("vit_small_patch14_reg4_dinov2", {**_NARROW, "img_size": 224}),
        ("vit_giant_patch14_reg4_dinov2", {**_NARROW, "img_size": 224}),  # SwiGLU
        ("vit_small_patch16_dinov3", _NARROW),
        ("eva_large_patch14_196", _NARROW),
        ("eva02_tiny_patch14_224", _NARROW),
        ("eva02_large_patch14_224", _NARROW),
        ("beit_base_patch16_224", _NARROW),
        ("beitv2_base_patch16_224", _NARROW),
        ("swin_tiny_patch4_window7_224", _WINDOWS),
        ("swinv2_tiny_window8_256", _WINDOWS),
    ],
)
def test_every_adapter_learns_and_can_be_merged(name: str, arguments: dict[str, Any]) -> None:
    """Some of timm's layers are read rather than called, past any adapter: each gets a gradient and acts."""
    plain, adapted = (create_backbone(name, seed=0, arguments=arguments).eval() for _ in range(2))
    for path, scale in [*plain.named_parameters(), *adapted.named_parameters()]:
        if "gamma" in path or path.endswith(("norm1.weight", "norm2.weight")):  # Swin v2's begin at 0, gammas near it
            nn.init.constant_(scale, 0.5)
    add_adapters(adapted, rank=2, scale=1.5, seed=0, name=name)
    edge = plain.pretrained_cfg["input_size"][-1] if "img_size" not in arguments else arguments["img_size"]
    images = torch.randn(2, 3, edge, edge, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(adapted(images), plain(images))
    adapted(images).square().sum().backward()
    ups = {path: p for path, p in adapted.named_parameters() if ".lora_B" in path}
    idle = [path for path, p in ups.items() if p.grad is None or not p.grad.any()]
    assert idle == []
    with torch.no_grad():
        for p in ups.values():
            p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(1)) * 0.05)
    assert not torch.allclose(adapted(images), plain(images), atol=1e-3)
    plain.load_state_dict(merge_adapters(adapted.state_dict(), scale=1.5))
    torch.testing.assert_close(adapted(images), plain(images), rtol=1e-4, atol=1e-4)


def test_the_scale_is_alpha_by_rank(checkpoint: Callable[..., Storage]) -> None:
    for rank in (2, 8):
        network = _backbone(checkpoint("test_vit"))
        add_adapters(network, rank=rank, scale=1.5, seed=0, name="test_vit")
        assert {m.scaling["default"] for m in network.modules() if hasattr(m, "scaling")} == {1.5}


def test_a_backbone_without_linear_layers_is_refused(checkpoint: Callable[..., Storage]) -> None:
    with pytest.raises(RequestError, match=r"transfer.adapt: backbone test_resnet has no linear layers .* use full"):
        add_adapters(_backbone(checkpoint("test_resnet")), rank=2, scale=1.0, seed=0, name="test_resnet")
