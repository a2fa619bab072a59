import pytest
import torch
from lightly.loss.swav_loss import sinkhorn
from torch.nn.functional import normalize

from raysweep.backbones.create import create_backbone
from raysweep.errors import RequestError
from raysweep.pretrain.inputs import make_method, settings
from raysweep.pretrain.loop import build_module
from raysweep.pretrain.method import TrainingProgress
from raysweep.pretrain.methods import swav
from raysweep.pretrain.optimiser import Optimiser
from raysweep.pretrain.parallel import Step
from raysweep.pretrain.spec import CheckpointSpec
from tests.pretrain import ranks

SMALL = {"dim": 8, "hidden": 16, "prototypes": 6, "n_small": 2}
PROGRESS = TrainingProgress(3, 10, 5, 10)


def made(**options):
    method = make_method("swav", {**SMALL, **options})
    return method, build_module(method, create_backbone("test_resnet", seed=0), [], 1).double().train()


def batch_of(step: int = 0, **options):
    return ranks.global_batch("swav", {**SMALL, **options}, step, 8, 32)


def step_of(method, module, batch, progress=PROGRESS) -> torch.Tensor:
    method.before_step(module, progress)
    return Step(method, module, half=False)(batch, progress)[0]


def test_codes_share_out_samples_and_prototypes(monkeypatch):
    torch.manual_seed(0)
    scores = torch.rand(40, 7).double() * 2 - 1
    codes = swav._codes(scores, 0.05)
    torch.testing.assert_close(codes.sum(1), torch.ones(40).double())
    torch.testing.assert_close(codes, sinkhorn(scores.clone()))
    monkeypatch.setattr(swav, "_ITERATIONS", 500)
    torch.testing.assert_close(swav._codes(scores, 0.05).sum(0), torch.full((7,), 40 / 7).double())


def test_codes_stay_numbers_where_exponentials_overflow_or_vanish():
    scores = torch.tensor([[1.0, -1.0, -1.0], [0.9, -0.9, -1.0], [0.99, -0.5, -1.0]])
    assert not torch.isfinite(sinkhorn(scores, epsilon=0.005)).all()
    codes = swav._codes(scores, 0.005)
    assert torch.isfinite(codes).all()
    torch.testing.assert_close(codes.sum(1), torch.ones(3))


@pytest.mark.parametrize("n_small", [0, 2])
def test_the_loss_is_the_swapped_prediction_of_the_paper(n_small):
    method, module = made(tau=0.2, epsilon=0.1, n_small=n_small)
    batch = batch_of(n_small=n_small)
    loss = step_of(method, module, batch)
    together = [torch.cat(batch.views[:2])] + ([torch.cat(batch.views[2:])] if n_small else [])
    z = [normalize(part, dim=1) for x in together for part in module.head(module.backbone(x)).split(8)]
    scores = [part @ module.prototypes.weight.T for part in z]
    total = 0.0
    for s in range(2):
        q = sinkhorn(scores[s].detach(), epsilon=0.1)
        others = [t for t in range(len(scores)) if t != s]
        for t in others:
            p = torch.exp(scores[t] / 0.2) / torch.exp(scores[t] / 0.2).sum(1, keepdim=True)
            total -= (q * p.log()).sum(1).mean().item() / len(others) / 2
    assert loss.item() == pytest.approx(total, rel=1e-9)


def test_prototypes_have_unit_length_before_a_step():
    method, module = made()
    assert (module.prototypes.weight.norm(dim=1) - 1).abs().max() > 0.1
    method.before_step(module, PROGRESS)
    torch.testing.assert_close(module.prototypes.weight.norm(dim=1), torch.ones(6).double())


@pytest.mark.parametrize(("epoch", "moves"), [(0, False), (1, False), (2, True)])
def test_prototypes_stay_as_they_are_in_the_first_epochs(epoch, moves):
    method, module = made(freeze_epochs=2)
    spec = CheckpointSpec(backbone="test_resnet", method="swav", patches="p", optimizer="sgd", weight_decay=0.1)
    fixed = settings(spec)
    assert fixed is not None
    optimiser = Optimiser(method, module, fixed)
    progress = TrainingProgress(3, 10, epoch, 10)
    optimiser.lead(progress)
    step_of(method, module, batch_of(), progress).backward()
    before = [p.detach().clone() for p in (module.prototypes.weight, module.head.layers[0].weight)]
    method.after_backward(module, progress)
    optimiser.step()
    assert torch.equal(before[0], module.prototypes.weight) is not moves
    assert not torch.equal(before[1], module.head.layers[0].weight)
    assert method.exported(module) is module.backbone


def test_the_queue_fills_from_its_epoch_on_and_is_used_once_full():
    options = {"queue": 12, "queue_epoch": 5}
    (method, module), (plain, other) = made(**options), made()
    other.load_state_dict(module.state_dict(), strict=False)
    early = TrainingProgress(2, 10, 4, 10)
    step_of(method, module, batch_of(0), early)
    method.after_step(module, early)
    assert int(module.queue.added) == 0
    entered = []
    for step in range(3):
        batch = batch_of(step)
        same = torch.allclose(step_of(method, module, batch), step_of(plain, other, batch))
        assert same is (step < 2), "codes change once the queue holds 12 of 16 patches"
        z = method.forward(module, batch, PROGRESS)["embedded"][0]
        entered.append(normalize(z, dim=1).reshape(2, 8, 8).transpose(0, 1))
        method.after_step(module, PROGRESS)
        assert int(module.queue.added) == 8 * (step + 1)
    torch.testing.assert_close(module.queue.rows, torch.cat(entered)[-12:])  # 24 have entered: twice around


def test_codes_with_a_queue_are_those_of_both_together():
    method, module = made(queue=8, queue_epoch=0, n_small=0)
    module.queue.added.fill_(8)
    batch = batch_of(n_small=0)
    loss = step_of(method, module, batch)
    z = normalize(module.head(module.backbone(torch.cat(batch.views))), dim=1)
    scores = [part @ module.prototypes.weight.T for part in z.split(8)]
    total = 0.0
    for s in range(2):
        known = torch.cat([scores[s], module.queue.rows[:, s] @ module.prototypes.weight.T]).detach()
        q = sinkhorn(known)[:8]
        total -= (q * torch.log_softmax(scores[1 - s] / 0.1, dim=1)).sum(1).mean().item() / 2
    assert loss.item() == pytest.approx(total, rel=1e-9)


def test_two_ranks_share_one_queue(pair):
    asked = ("swav", {**SMALL, "queue": 6, "queue_epoch": 0}, "test_resnet")
    alone = ranks.one_step(*asked, px=32)
    for shared in pair.run("one_step", *asked, px=32):
        for key in (k for k, value in alone.items() if value.is_floating_point()):
            scale = float(alone[key].abs().max()) + 1e-6
            assert float((shared[key] - alone[key]).abs().max()) < 1e-8 * scale, key
        assert int(shared["state queue.added"]) == 16


@pytest.mark.parametrize(("px", "small"), [(224, 96), (256, 112), (512, 224), (32, 16), (16, 16)])
def test_small_views_are_in_proportion(px, small):
    recipes = make_method("swav", {}).views(px)
    assert [recipe.px for recipe in recipes] == [px] * 2 + [small] * 6
    assert recipes[0].scale == (0.2, 1.0)
    assert recipes[2].scale == (0.05, 0.2)
    assert make_method("swav", {"small_px": 98}).views(px)[-1].px == 98


def test_small_crops_larger_than_large_ones_are_refused():
    with pytest.raises(RequestError, match=r"options\.small_crop: .*cannot be larger than crop"):
        make_method("swav", {"crop": 0.3, "small_crop": 0.4})
