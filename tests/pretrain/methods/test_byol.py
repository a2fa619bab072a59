import math

import pytest
import torch
from torch import nn

from raysweep.backbones.create import create_backbone
from raysweep.pretrain.inputs import make_method
from raysweep.pretrain.loop import build_module
from raysweep.pretrain.method import TrainingProgress
from raysweep.pretrain.parallel import Step
from tests.pretrain import ranks

SMALL = {"dim": 8, "hidden": 16}
PROGRESS = TrainingProgress(3, 10, 0, 1)


def made(**options):
    method = make_method("byol", {**SMALL, **options})
    return method, build_module(method, create_backbone("test_resnet", seed=0), [], 1).double().train()


def batch_of(step: int = 0):
    return ranks.global_batch("byol", SMALL, step, 8, 32)


def moved(module: nn.Module) -> None:
    """Networks that are no longer equal, as after some steps."""
    with torch.no_grad():
        for name, p in module.named_parameters():
            if p.requires_grad and "bn" not in name:
                p.add_(0.1 * torch.rand_like(p))


def test_the_loss_is_equation_2_of_the_paper_both_ways_round():
    method, module = made()
    moved(module)
    batch = batch_of()
    loss, _ = Step(method, module, half=False)(batch, PROGRESS)
    one, two = batch.views
    expected = 0.0
    for online, target in ((one, two), (two, one)):
        q = module.predictor(module.projector(module.backbone(online)))
        z = module.target_projector(module.target_backbone(target))
        distance = q / q.norm(dim=1, keepdim=True) - z / z.norm(dim=1, keepdim=True)
        expected += distance.square().sum(1).mean().item()
    assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_the_target_gets_no_gradient_and_everything_else_does():
    method, module = made()
    moved(module)
    loss, _ = Step(method, module, half=False)(batch_of(), PROGRESS)
    loss.backward()
    for name, p in module.named_parameters():
        assert p.requires_grad is not name.startswith("target_")
        assert (p.grad is None) is name.startswith("target_")
    assert method.exported(module) is module.backbone


@pytest.mark.parametrize(("step", "momentum"), [(0, 0.9), (4, 1 - 0.1 * (1 + math.cos(math.pi * 0.4)) / 2), (10, 1.0)])
def test_the_target_follows_with_a_momentum_that_grows_to_1(step, momentum):
    """tau = 1 - (1 - tau_base) (cos(pi k / K) + 1) / 2, section 3.2."""
    method, module = made(momentum=0.9)
    pairs = [(module.backbone, module.target_backbone), (module.projector, module.target_projector)]
    assert all(torch.equal(a, b) for q, t in pairs for a, b in zip(q.parameters(), t.parameters(), strict=True))
    moved(module)
    before = [p.clone() for _, t in pairs for p in t.parameters()]
    method.after_step(module, TrainingProgress(step, 11, 0, 1))
    online = [p for q, _ in pairs for p in q.parameters()]
    targets = [p for _, t in pairs for p in t.parameters()]
    for old, new, target in zip(before, online, targets, strict=True):
        torch.testing.assert_close(target, momentum * old + (1 - momentum) * new)


def test_views_are_of_two_kinds_and_the_colour_can_be_off():
    one, two = make_method("byol", {"colour": 0.0, "crop": 0.5}).views(48)
    assert (one.blur, one.solarise, two.blur, two.solarise) == (1.0, 0.0, 0.1, 0.2)
    assert one.scale == two.scale == (0.5, 1.0)
    assert {one.brightness, two.contrast, one.saturation, two.hue} == {0.0}


def test_heads_are_those_of_the_paper():
    _, module = made(hidden=24)
    width = module.backbone.num_features
    for head, inputs in ((module.projector, width), (module.predictor, 8)):
        first, norm, act, last = head.layers
        assert (first.in_features, first.out_features, last.in_features, last.out_features) == (inputs, 24, 24, 8)
        assert isinstance(norm, nn.BatchNorm1d)
        assert isinstance(act, nn.ReLU)
        assert last.bias is None
