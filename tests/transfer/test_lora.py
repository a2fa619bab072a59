from collections.abc import Callable

import pytest
import torch
from torch import nn

from raysweep.errors import RequestError
from raysweep.storage import Storage
from raysweep.transfer.lora import add_adapters
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


def test_the_scale_is_alpha_by_rank(checkpoint: Callable[..., Storage]) -> None:
    for rank in (2, 8):
        network = _backbone(checkpoint("test_vit"))
        add_adapters(network, rank=rank, scale=1.5, seed=0, name="test_vit")
        assert {m.scaling["default"] for m in network.modules() if hasattr(m, "scaling")} == {1.5}


def test_a_backbone_without_linear_layers_is_refused(checkpoint: Callable[..., Storage]) -> None:
    with pytest.raises(RequestError, match=r"transfer.adapt: backbone test_resnet has no linear layers .* use full"):
        add_adapters(_backbone(checkpoint("test_resnet")), rank=2, scale=1.0, seed=0, name="test_resnet")
