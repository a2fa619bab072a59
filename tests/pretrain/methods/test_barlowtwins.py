import pytest
import torch

from raysweep.backbones.create import create_backbone
from raysweep.pretrain.inputs import make_method, settings
from raysweep.pretrain.loop import build_module
from raysweep.pretrain.method import TrainingProgress
from raysweep.pretrain.optimiser import Optimiser
from raysweep.pretrain.parallel import Step
from raysweep.pretrain.spec import CheckpointSpec
from tests.pretrain import ranks

SMALL = {"dim": 12}
PROGRESS = TrainingProgress(3, 10, 0, 1)


def made(**options):
    method = make_method("barlowtwins", {**SMALL, **options})
    return method, build_module(method, create_backbone("test_resnet", seed=0), [], 1).double().train()


def papers_loss(module, batch, weight: float) -> torch.Tensor:
    """Equations 1 and 2, entry by entry."""
    one, two = (module.head(module.backbone(view)) for view in batch.views)
    one, two = ((z - z.mean(0)) / z.std(0, unbiased=False) for z in (one, two))
    total = one.new_zeros(())
    for i in range(one.shape[1]):
        for j in range(one.shape[1]):
            c = (one[:, i] * two[:, j]).sum() / len(one)
            total = total + ((1 - c) ** 2 if i == j else weight * c**2)
    return total


def test_the_loss_is_equation_1_of_the_paper_scaled():
    method, module = made(redundancy=0.01)
    batch = ranks.global_batch("barlowtwins", SMALL, 0, 8, 32)
    loss, _ = Step(method, module, half=False)(batch, PROGRESS)
    # rel: lightly adds 1e-5 to variances
    assert loss.item() == pytest.approx(0.024 * papers_loss(module, batch, 0.01).item(), rel=1e-3)


def test_one_rate_moves_weights_and_biases_as_the_papers_two_do():
    """LARS at 0.2 for weights, plain 0.0048 for biases and norms."""
    batch = ranks.global_batch("barlowtwins", SMALL, 0, 8, 32)
    method, module = made()
    spec = CheckpointSpec(backbone="test_resnet", method="barlowtwins", patches="p")
    fixed = settings(spec)
    assert fixed is not None
    assert (fixed.optimizer, fixed.lr) == ("lars", 0.2)
    optimiser = Optimiser(method, module, fixed.model_copy(update={"warmup": 0.0, "schedule": "constant"}))
    names = {n: p for n, p in module.named_parameters() if n.startswith("head.")}
    papers_loss(module, batch, 5e-3).backward()
    whole = {n: p.grad.clone() for n, p in names.items()}
    before = {n: p.detach().clone() for n, p in names.items()}
    module.zero_grad()
    optimiser.lead(PROGRESS)
    Step(method, module, half=False)(batch, PROGRESS)[0].backward()
    optimiser.step()
    for name, p in names.items():
        went = before[name] - p.detach()
        if p.ndim == 1:
            expected = 0.0048 * whole[name]
        else:  # You et al. 2017: trust coefficient 0.001
            expected = 0.2 * 0.001 * before[name].norm() / whole[name].norm() * whole[name]
        torch.testing.assert_close(went, expected, rtol=0, atol=5e-3 * float(expected.abs().max()) + 1e-12)


def test_what_is_exported_and_trained():
    method, module = made()
    assert method.exported(module) is module.backbone
    assert all(p.requires_grad for p in module.parameters())
    assert [layer.out_features for layer in module.head.layers if isinstance(layer, torch.nn.Linear)] == [12] * 3
