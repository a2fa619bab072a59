"""DINO: its loss from the paper's equations, its teacher, and what it exports."""

import pytest
import timm
import torch

from raysweep.backbones.create import create_backbone
from raysweep.pretrain.inputs import make_method
from raysweep.pretrain.loop import build_module
from raysweep.pretrain.method import TrainingProgress
from tests.pretrain import ranks

OPTIONS = {"dim": 8, "hidden": 16, "n_small": 2, "momentum": 0.9}
MIDDLE = TrainingProgress(15, 101, 3, 20)


def _parts(backbone="test_vit"):
    method = make_method("dino", OPTIONS)
    module = build_module(method, create_backbone(backbone, seed=0), ranks.SOURCES, 3).double().train()
    return method, module, ranks.global_batch("dino", OPTIONS, 0, 4, 32)


def test_the_loss_is_the_paper_s():
    """With a centre and a teacher that differ from what they are at the start; Caron et al. 2021, equations 1 to 3."""
    method, module, batch = _parts()
    with torch.no_grad():
        module.centre.value.copy_(torch.linspace(-0.2, 0.3, 8))
        for p in module.teacher_head.layers.parameters():
            p.add_(0.05 * torch.randn_like(p))
    loss, _ = method.loss(module, method.forward(module, batch, MIDDLE), batch, MIDDLE)
    tau = 0.04 + (0.07 - 0.04) * 15 / (0.3 * 101)
    with torch.no_grad():
        said = [module.head(module.backbone(view)) for view in batch.views]
        taught = [module.teacher_head(module.teacher(view)) for view in batch.views[:2]]
        terms = [
            -(torch.softmax((t - module.centre.value) / tau, 1) * torch.log_softmax(s / 0.1, 1)).sum(1).mean()
            for i, t in enumerate(taught)
            for j, s in enumerate(said)
            if i != j
        ]
    assert len(terms) == 2 * 3
    assert loss.item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-6)


def test_teacher_and_centre_follow():
    method, module, batch = _parts()
    with torch.no_grad():
        for p in [*module.backbone.parameters(), *module.head.parameters()]:
            p.add_(0.1)
    before = {name: p.clone() for name, p in module.named_parameters()}
    method.loss(module, method.forward(module, batch, MIDDLE), batch, MIDDLE)
    outputs = torch.cat([module.teacher_head(module.teacher(view)) for view in batch.views[:2]])
    method.after_step(module, MIDDLE)
    m = MIDDLE.cosine(0.9, 1.0)
    for student, teacher in (("backbone", "teacher"), ("head", "teacher_head")):
        for name, p in getattr(module, teacher).named_parameters():
            wanted = m * before[f"{teacher}.{name}"] + (1 - m) * before[f"{student}.{name}"]
            torch.testing.assert_close(p.detach(), wanted)
    torch.testing.assert_close(module.centre.value, 0.1 * outputs.mean(0))


def test_gradients_reach_the_student_alone():
    method, module, batch = _parts()
    method.loss(module, method.forward(module, batch, MIDDLE), batch, MIDDLE)[0].backward()
    with_gradient = {name.split(".")[0] for name, p in module.named_parameters() if p.grad is not None}
    assert with_gradient == {"backbone", "head"}


@pytest.mark.parametrize("backbone", ["test_vit", "test_resnet"])
def test_the_teacher_is_exported_under_timm_s_names(backbone):
    method, module, _ = _parts(backbone)
    weights = method.exported(module).state_dict()
    timm.create_model(backbone, num_classes=0).load_state_dict(weights, strict=True)
    assert method.exported(module) is module.teacher


def test_the_last_layer_waits():
    method, module, batch = _parts()
    first = TrainingProgress(0, 100, 0, 20)
    method.loss(module, method.forward(module, batch, first), batch, first)[0].backward()
    method.after_backward(module, first)
    assert module.head.last_layer.weight_v.grad is None
