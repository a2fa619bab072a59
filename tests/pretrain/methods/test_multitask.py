import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from raysweep.backbones.create import create_backbone
from raysweep.errors import RequestError
from raysweep.pretrain.batch import Batch
from raysweep.pretrain.inputs import make_method
from raysweep.pretrain.loop import build_module
from raysweep.pretrain.method import SourceClasses, TrainingProgress
from raysweep.pretrain.parallel import Step
from tests.pretrain import ranks


def made(options=None):
    method = make_method("multitask", options or {})
    module = build_module(method, create_backbone("test_resnet", seed=0), ranks.SOURCES, 0).double().train()
    return method, module, Step(method, module, half=False)


def batch_of(sources: list[int]) -> Batch:
    n = len(sources)
    views = [torch.rand(n, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))]
    return Batch(views, torch.arange(n) % 2, torch.tensor(sources), np.arange(n, dtype=np.uint64), 0, 0)


def test_the_loss_is_the_batchs_mean_and_head_gradients_are_scaled():
    """By hand: the backbone's gradient is that of the mean over B, a head's that of the mean over its own B_i."""
    method, module, step = made()
    batch, now = batch_of([0, 0, 0, 1, 0, 1, 0, 0]), TrainingProgress(0, 9, 0, 1)
    method.before_step(module, now)
    loss, _ = step(batch, now)
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in module.named_parameters()}

    module.zero_grad()
    features = module.backbone(batch.views[0])
    losses = [
        cross_entropy(head(features[batch.sources == task]), batch.labels[batch.sources == task], reduction="sum")
        for task, head in enumerate(module.heads)
    ]
    assert loss.item() == pytest.approx((sum(losses) / 8).item(), rel=1e-9)
    for name, p in module.backbone.named_parameters():
        (wanted,) = torch.autograd.grad(sum(losses) / 8, p, retain_graph=True)
        torch.testing.assert_close(gradients[f"backbone.{name}"], wanted, rtol=1e-6, atol=1e-9)
    for task, count in ((0, 6), (1, 2)):
        (wanted,) = torch.autograd.grad(losses[task] / count, module.heads[task].weight, retain_graph=True)
        torch.testing.assert_close(gradients[f"heads.{task}.weight"], wanted, rtol=1e-6, atol=1e-9)


def test_an_idle_head_does_not_move():
    method, module, step = made()
    now = TrainingProgress(0, 9, 0, 1)
    method.before_step(module, now)
    step(batch_of([0] * 6), now)[0].backward()
    assert not module.heads[1].weight.grad.any()
    assert module.heads[0].weight.grad.any()


def test_the_backbone_is_frozen_while_heads_warm_up():
    """Weights and batch statistics; afterwards both move."""
    method, module, step = made({"warmup_steps": 2})
    for number in range(3):
        now = TrainingProgress(number, 9, 0, 1)
        before = {name: value.clone() for name, value in module.backbone.state_dict().items()}
        module.zero_grad(set_to_none=True)
        method.before_step(module, now)
        step(batch_of([0, 1, 0, 1]), now)[0].backward()
        frozen = number < 2
        assert all(p.grad is None for p in module.backbone.parameters()) == frozen
        assert module.heads[0].weight.grad is not None
        moved = [name for name, value in module.backbone.state_dict().items() if not torch.equal(value, before[name])]
        assert bool(moved) != frozen


def test_heads_are_a_group_of_their_own():
    method, module, _ = made({"head_lr_factor": 5.0})
    backbone, heads = method.groups(module)
    assert (backbone.lr_factor, heads.lr_factor) == (1.0, 5.0)
    assert {id(p) for p in heads.parameters} == {id(p) for p in module.heads.parameters()}


def test_a_source_without_classes_is_refused():
    method = make_method("multitask", {})
    with pytest.raises(RequestError, match="patches: b has no labels of at least two classes"):
        build_module(
            method, create_backbone("test_resnet", seed=0),
            [SourceClasses("a", ("x", "y")), SourceClasses("b", ())], 0,
        )  # fmt: skip
