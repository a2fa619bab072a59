"""MAE: what it sees, what it paints, what its loss counts, and what it exports."""

from dataclasses import replace

import pytest
import timm
import torch

from raysweep.backbones.create import create_backbone
from raysweep.errors import RequestError
from raysweep.pretrain.inputs import make_method
from raysweep.pretrain.loop import build_module
from raysweep.pretrain.masks import kept_and_masked
from raysweep.pretrain.method import TrainingProgress
from tests.pretrain import ranks

OPTIONS = {"width": 32, "depth": 1, "heads": 2}
MIDDLE = TrainingProgress(5, 10, 5, 10)


def _parts(backbone="test_vit", px=64, **options):
    method = make_method("mae", OPTIONS | options)
    module = build_module(method, create_backbone(backbone, seed=0), ranks.SOURCES, 3).double().train()
    return method, module, ranks.global_batch("mae", OPTIONS, 0, 4, px)


def _pixels(view, token, size=16):
    """float (n, size * size * 3) of one token number for each image: rows, columns, channels."""
    across = view.shape[-1] // size
    rows = []
    for image, t in zip(view, token.tolist(), strict=True):
        y, x = divmod(t, across)
        piece = image[:, y * size : (y + 1) * size, x * size : (x + 1) * size]
        rows.append(piece.permute(1, 2, 0).flatten())
    return torch.stack(rows)


def test_the_loss_is_the_mean_squared_error_of_normalised_masked_pixels():
    """He et al. 2022, section 3, with the variance of a sample as in their code."""
    method, module, batch = _parts()
    outputs = method.forward(module, batch, MIDDLE)
    loss, _ = method.loss(module, outputs, batch, MIDDLE)
    assert outputs["masked"].shape == (4, 12)  # three quarters of 16
    terms = []
    for place in range(12):
        target = _pixels(batch.views[0], outputs["masked"][:, place])
        target = (target - target.mean(1, keepdim=True)) / (target.var(1, keepdim=True) + 1e-6).sqrt()
        terms.append(((outputs["painted"][:, place] - target) ** 2).mean())
    assert loss.item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-6)


def _painted_over(batch, tokens):
    view = batch.views[0].clone()
    for image, numbers in zip(view, tokens.tolist(), strict=True):
        for t in numbers:
            y, x = divmod(t, 4)
            image[:, 16 * y : 16 * y + 16, 16 * x : 16 * x + 16] = torch.randn(3, 16, 16, dtype=torch.float64)
    return replace(batch, views=[view])


def test_only_masked_tokens_count_and_only_the_others_are_seen():
    method, module, batch = _parts()
    kept, masked = kept_and_masked(batch, 16, 0.75)
    outputs = method.forward(module, batch, MIDDLE)
    loss, _ = method.loss(module, outputs, batch, MIDDLE)
    assert torch.equal(outputs["masked"], masked)
    other_visible, other_masked = _painted_over(batch, kept), _painted_over(batch, masked)
    assert torch.equal(method.loss(module, outputs, other_visible, MIDDLE)[0], loss)
    assert not torch.equal(method.loss(module, outputs, other_masked, MIDDLE)[0], loss)
    assert torch.equal(method.forward(module, other_masked, MIDDLE)["painted"], outputs["painted"])
    assert not torch.equal(method.forward(module, other_visible, MIDDLE)["painted"], outputs["painted"])


def test_the_decoder_knows_where_tokens_are():
    """A token is painted by where it is: the blank tokens of one image differ."""
    method, module, batch = _parts()
    painted = method.forward(module, batch, MIDDLE)["painted"]
    assert float(painted.detach().std(dim=1).mean()) > 1e-3


@pytest.mark.parametrize("backbone", ["test_vit", "test_vit2", "test_vit3"])
@pytest.mark.parametrize("px", [48, 160])
def test_class_and_register_tokens_and_every_size(backbone, px):
    method, module, batch = _parts(backbone, px)
    outputs = method.forward(module, batch, MIDDLE)
    tokens = (px // 16) ** 2
    assert outputs["painted"].shape == (4, tokens - round(tokens / 4), 768)
    method.loss(module, outputs, batch, MIDDLE)[0].backward()
    idle = [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle


@pytest.mark.parametrize("backbone", ["test_vit", "test_vit2"])
def test_the_transformer_is_exported_under_timm_s_names(backbone):
    method, module, _ = _parts(backbone)
    vit = method.exported(module)
    assert vit is module.backbone
    timm.create_model(backbone, num_classes=0).load_state_dict(vit.state_dict(), strict=True)
    untouched = create_backbone(backbone, seed=0).double().state_dict()
    assert all(torch.equal(value, untouched[name]) for name, value in vit.state_dict().items())


def test_what_it_cannot_work_with_is_refused():
    with pytest.raises(RequestError, match="backbone: method mae"):
        _parts("test_resnet")
    method, module, batch = _parts(px=50)
    with pytest.raises(RequestError, match="px: views of 50 px"):
        method.forward(module, batch, MIDDLE)
    method, module, batch = _parts(px=16)
    with pytest.raises(RequestError, match="px: views of 16 px are one token"):
        method.forward(module, batch, MIDDLE)
    with pytest.raises(RequestError, match=r"options\.heads: .*does not divide the decoder's width of 32"):
        make_method("mae", {"width": 32, "heads": 5})
