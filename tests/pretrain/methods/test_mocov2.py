import pytest
import torch
from torch.nn.functional import normalize

from raysweep.backbones.create import create_backbone
from raysweep.errors import RequestError
from raysweep.pretrain.inputs import make_method
from raysweep.pretrain.loop import build_module
from raysweep.pretrain.method import TrainingProgress
from raysweep.pretrain.parallel import Step
from tests.pretrain import ranks

SMALL = {"dim": 8, "queue": 12, "groups": 2}
PROGRESS = TrainingProgress(3, 10, 0, 1)


def made(backbone: str = "test_resnet", **options):
    method = make_method("mocov2", {**SMALL, **options})
    return method, build_module(method, create_backbone(backbone, seed=0), [], 1).double().train()


def batch_of(step: int = 0, count: int = 8):
    return ranks.global_batch("mocov2", SMALL, step, count, 32)


def test_the_loss_is_equation_1_of_the_paper():
    method, module = made(groups=1, tau=0.3)
    batch = batch_of()
    loss, figures = Step(method, module, half=False)(batch, PROGRESS)
    q = normalize(module.head(module.backbone(batch.views[0])), dim=1)
    k = normalize(module.key_head(module.key_backbone(batch.views[1])), dim=1)
    total, nearest = 0.0, 0
    for i in range(8):
        positive = torch.exp(q[i] @ k[i] / 0.3)
        negatives = torch.stack([torch.exp(q[i] @ other / 0.3) for other in module.queue.rows])
        total -= torch.log(positive / (positive + negatives.sum())).item()
        nearest += int(positive > negatives.max())
    assert loss.item() == pytest.approx(total / 8, rel=1e-9)
    assert figures["accuracy"].item() == pytest.approx(nearest / 8)


def test_keys_have_batch_statistics_of_their_group():
    method, module = made()
    views = batch_of().views[1]
    found = method.forward(module, batch_of(), PROGRESS)["keys"]
    for group in range(2):
        alone = module.key_head(module.key_backbone(views[group::2]))
        torch.testing.assert_close(found[group::2], alone)
    assert not torch.allclose(found, module.key_head(module.key_backbone(views)))


def test_groups_that_do_not_divide_a_share_are_refused():
    method, module = made(groups=3)
    with pytest.raises(RequestError, match=r"options\.groups: 8 patches .* 3 equal groups.* divisor of 8"):
        method.forward(module, batch_of(), PROGRESS)


def test_a_network_without_batch_statistics_needs_no_groups():
    method, module = made("test_vit", groups=3)
    batch = batch_of()
    found = method.forward(module, batch, PROGRESS)["keys"]
    torch.testing.assert_close(found, module.key_head(module.key_backbone(batch.views[1])))


def test_the_key_network_follows_by_momentum_alone():
    method, module = made(momentum=0.9)
    pairs = [(module.backbone, module.key_backbone), (module.head, module.key_head)]
    assert all(
        torch.equal(a, b) for q, k in pairs for a, b in zip(q.parameters(), k.parameters(), strict=True)
    )  # a copy at the start
    assert not any(p.requires_grad for _, k in pairs for p in k.parameters())
    with torch.no_grad():
        for p in module.backbone.parameters():
            p.add_(torch.rand_like(p))
    before = [p.clone() for _, k in pairs for p in k.parameters()]
    method.before_step(module, PROGRESS)
    loss, _ = Step(method, module, half=False)(batch_of(), PROGRESS)
    loss.backward()
    method.after_step(module, PROGRESS)
    queries = [p for q, _ in pairs for p in q.parameters()]
    keys = [p for _, k in pairs for p in k.parameters()]
    for old, query, key in zip(before, queries, keys, strict=True):
        torch.testing.assert_close(key, 0.9 * old + 0.1 * query)
        assert key.grad is None
    assert method.exported(module) is module.backbone


def test_keys_enter_the_queue_once_a_step_and_wrap_around():
    method, module = made()
    expected, at = module.queue.rows.clone(), 0
    step_of = Step(method, module, half=False)
    for step in range(3):
        batch = batch_of(step)
        method.before_step(module, PROGRESS)
        step_of(batch, PROGRESS)
        keys = normalize(method.forward(module, batch, PROGRESS)["keys"], dim=1)
        assert torch.equal(module.queue.rows, expected), "the loss itself leaves the queue as it is"
        method.after_step(module, PROGRESS)
        for key in keys:
            expected[at % 12], at = key, at + 1
        torch.testing.assert_close(module.queue.rows, expected)
        expected = module.queue.rows.clone()
    assert int(module.queue.added) == 24


def test_a_queue_of_all_patches_is_told():
    method = make_method("mocov2", SMALL)
    assert method.note(13) == ""
    assert "12 keys are kept and there are 12 patches" in method.note(12)


@pytest.mark.parametrize("queue", [12, 5])
def test_ranks_and_parts_leave_the_same_queue(queue, pair):
    """Also where a batch does not fit the rest of the queue, or the queue."""
    keys = {"frozen_norms": True, "px": 32}
    asked = ("mocov2", {**SMALL, "queue": queue}, "test_resnet")
    alone = ranks.one_step(*asked, **keys)
    for found in [ranks.one_step(*asked, parts=2, **keys), *pair.run("one_step", *asked, parts=2, **keys)]:
        torch.testing.assert_close(found["state queue.rows"], alone["state queue.rows"], rtol=0, atol=1e-9)
        assert int(found["state queue.added"]) == 16
