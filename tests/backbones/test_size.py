import sys

import pytest
import timm

from raysweep.backbones.size import LARGE, is_large


@pytest.mark.parametrize(
    ("name", "large"),
    [("resnet50.tv_in1k", False), ("vit_base_patch16_224", False), ("vit_large_patch16_224", True),
     ("vit_large_patch14_dinov2.lvd142m", True), ("vit_huge_patch14_224", True), ("convnext_large", False),
     ("convnext_xxlarge", True), ("vit_so400m_patch14_siglip_224", True), ("test_vit", False)],
)  # fmt: skip
def test_more_than_300_million_parameters_are_large(name: str, large: bool) -> None:
    assert is_large(name) == large


def test_what_its_constructor_is_given_counts() -> None:
    assert is_large("vit_giant_patch14_224", {"embed_dim": 1536, "depth": 24, "num_heads": 24})
    assert not is_large("vit_giant_patch14_224", {"embed_dim": 192, "depth": 2, "num_heads": 3, "mlp_ratio": 2})
    assert is_large("vit_tiny_patch16_224", {"embed_dim": 2048, "depth": 24, "num_heads": 16})


def test_timm_is_not_needed_for_most_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("timm", "raysweep.backbones.create"):
        monkeypatch.setitem(sys.modules, module, None)  # importing it fails
    assert not is_large("resnet18")
    with pytest.raises(ImportError):
        is_large("vit_large_patch32_224")


@pytest.mark.long
def test_no_large_model_of_timm_is_missed() -> None:
    import torch

    missed = []
    for name in timm.list_models():
        with torch.device("meta"):
            model = timm.create_model(name, num_classes=0)
        count = sum(p.numel() for p in model.parameters())
        if is_large(name) != (count > LARGE):
            missed.append((name, count))
    assert not missed
