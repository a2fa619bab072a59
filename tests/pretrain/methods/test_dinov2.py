"""DINOv2: its three terms from the papers' equations, what student and teacher see, and what it exports."""

from dataclasses import replace

import pytest
import timm
import torch

from raysweep.backbones.create import create_backbone
from raysweep.errors import RequestError
from raysweep.pretrain.inputs import make_method
from raysweep.pretrain.loop import build_module
from raysweep.pretrain.masks import block_masks
from raysweep.pretrain.method import TrainingProgress
from tests.pretrain import ranks

OPTIONS = {"dim": 8, "hidden": 16, "n_small": 2, "momentum": 0.9}
MIDDLE = TrainingProgress(15, 101, 3, 20)
TAU = 0.04 + (0.07 - 0.04) * 15 / (0.3 * 101)


def _parts(backbone="test_vit", n=6, **options):
    method = make_method("dinov2", OPTIONS | options)
    module = build_module(method, create_backbone(backbone, seed=0), ranks.SOURCES, 3).double().train()
    with torch.no_grad():  # a teacher and a mask token that have moved
        for name, p in module.named_parameters():
            if name.startswith("teacher") and p.requires_grad is False and "weight_g" not in name:
                p.add_(0.02 * torch.randn_like(p))
        module.mask_token.normal_()
    return method, module, ranks.global_batch("dinov2", OPTIONS, 0, n, 64)


def _masks(batch):
    return [block_masks(batch, f"mask {view}", (4, 4)) for view in (0, 1)]


def _student_tokens(module, images, mask):
    """The transformer step by step, with the mask token in place of what the patches' pixels give."""
    vit = module.backbone
    tokens = torch.where(mask[..., None], module.mask_token[0, 0], vit.patch_embed(images))
    return vit.norm(vit.blocks(vit.norm_pre(vit._pos_embed(tokens))))


def _sinkhorn(outputs):
    q = torch.exp(outputs / TAU)
    for _ in range(3):
        q = q / q.sum(0)
        q = q / q.sum(1, keepdim=True)
    return q


@pytest.mark.parametrize("centring", ["mean", "sinkhorn"])
@pytest.mark.parametrize("separate", [True, False])
def test_the_loss_is_that_of_the_three_papers(centring, separate):
    method, module, batch = _parts(centring=centring, separate_heads=separate)
    if centring == "mean":
        module.centre.value.copy_(torch.linspace(-0.2, 0.3, 8))
        module.token_centre.value.copy_(torch.linspace(0.3, -0.3, 8))
    loss, figures = method.loss(module, method.forward(module, batch, MIDDLE), batch, MIDDLE)
    masks = _masks(batch)
    with torch.no_grad():
        student = [_student_tokens(module, *pair) for pair in zip(batch.views[:2], masks, strict=True)]
        teacher = [module.teacher.forward_features(view) for view in batch.views[:2]]
        said = [module.head(tokens[:, 0]) for tokens in student]
        said += [module.head(module.backbone(view)) for view in batch.views[2:]]
        taught = torch.cat([module.teacher_head(tokens[:, 0]) for tokens in teacher])
        token_head = module.token_head if separate else module.head
        teacher_token_head = module.teacher_token_head if separate else module.teacher_head
        masked = torch.cat([teacher_token_head(t[:, 1:][m.flatten(1)]) for t, m in zip(teacher, masks, strict=True)])
        if centring == "mean":
            taught = torch.softmax((taught - module.centre.value) / TAU, 1)
            masked = torch.softmax((masked - module.token_centre.value) / TAU, 1)
        else:
            taught, masked = _sinkhorn(taught), _sinkhorn(masked)

        def entropy(p, outputs):
            return -(p * torch.log_softmax(outputs / 0.1, -1)).sum(-1)

        pairs = [entropy(p, s).mean() for i, p in enumerate(taught.chunk(2)) for j, s in enumerate(said) if i != j]
        dino = torch.stack(pairs).mean()
        ibot, at = [], 0
        for tokens, mask in zip(student, masks, strict=True):
            for image, where in zip(tokens[:, 1:], mask.flatten(1), strict=True):
                count = int(where.sum())
                terms = entropy(masked[at : at + count], token_head(image[where]))
                ibot.append(terms.mean() if count else terms.sum())
                at += count
        assert at == len(masked) > 0
        koleo = []
        for tokens in student:
            unit = torch.nn.functional.normalize(tokens[:, 0], dim=1)
            apart = torch.cdist(unit, unit) + 9 * torch.eye(len(unit))
            koleo.append(-torch.log(apart.min(1).values).mean())
    assert figures["dino"].item() == pytest.approx(dino.item(), rel=1e-6)
    assert figures["ibot"].item() == pytest.approx(torch.stack(ibot).mean().item(), rel=1e-6)
    assert figures["koleo"].item() == pytest.approx(sum(koleo).item(), rel=1e-5)
    assert loss.item() == pytest.approx((dino + torch.stack(ibot).mean() + 0.1 * sum(koleo)).item(), rel=1e-6)


def test_the_student_does_not_see_what_is_masked_and_the_teacher_does():
    method, module, batch = _parts()
    masks = _masks(batch)
    assert any(mask.any() for mask in masks)
    views = list(batch.views)
    for i, mask in enumerate(masks):
        over = mask.repeat_interleave(16, 1).repeat_interleave(16, 2)[:, None]
        views[i] = torch.where(over, torch.randn_like(views[i]), views[i])
    one, other = (method.forward(module, b, MIDDLE) for b in (batch, replace(batch, views=views)))
    for name in ("said", "tokens_said", "pooled"):
        assert torch.equal(one[name], other[name])
    assert not torch.equal(one["taught"], other["taught"])
    assert not torch.equal(one["tokens_taught"], other["tokens_taught"])


def test_teacher_and_centres_follow():
    method, module, batch = _parts()
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    outputs = method.forward(module, batch, MIDDLE)
    method.loss(module, outputs, batch, MIDDLE)
    method.after_step(module, MIDDLE)
    m = MIDDLE.cosine(0.9, 1.0)
    for student, teacher in (("backbone", "teacher"), ("head", "teacher_head"), ("token_head", "teacher_token_head")):
        for name, p in getattr(module, teacher).named_parameters():
            wanted = m * before[f"{teacher}.{name}"] + (1 - m) * before[f"{student}.{name}"]
            torch.testing.assert_close(p.detach(), wanted)
    torch.testing.assert_close(module.centre.value, 0.1 * outputs["taught"].mean(0))
    torch.testing.assert_close(module.token_centre.value, 0.1 * outputs["tokens_taught"].mean(0))


def test_two_ranks_equal_one_with_sinkhorn_and_one_head(pair):
    options = OPTIONS | {"centring": "sinkhorn", "separate_heads": False}
    alone = ranks.one_step("dinov2", options, "test_vit", px=64)
    for shared in pair.run("one_step", "dinov2", options, "test_vit", px=64):
        assert alone.keys() == shared.keys()
        for key, value in alone.items():
            scale = float(value.abs().max()) + 1e-6  # timm resizes position embeddings in float32
            assert float((value - shared[key]).abs().max()) < 1e-7 * scale, key


@pytest.mark.parametrize("backbone", ["test_vit2", "test_vit3"])
def test_register_tokens_and_other_poolings(backbone):
    method, module, batch = _parts(backbone)
    method.loss(module, method.forward(module, batch, MIDDLE), batch, MIDDLE)[0].backward()
    assert not [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]


def test_blocks_learn_the_slower_the_deeper_they_lie():
    method, module, _ = _parts(layer_decay=0.5)
    factor = {id(p): group.lr_factor for group in method.groups(module) for p in group.parameters}
    vit = module.backbone
    assert factor[id(vit.patch_embed.proj.weight)] == pytest.approx(0.5**6)
    assert factor[id(vit.blocks[0].mlp.fc1.weight)] == pytest.approx(0.5**5)
    assert factor[id(vit.blocks[4].mlp.fc1.weight)] == pytest.approx(0.5)
    assert factor[id(vit.blocks[5].mlp.fc1.weight)] == 1
    assert factor[id(vit.norm.weight)] == 1
    assert factor[id(module.head.layers[0].weight)] == 1
    assert factor[id(module.mask_token)] == 1


def test_the_teacher_is_exported_under_timm_s_names():
    method, module, _ = _parts()
    weights = method.exported(module).state_dict()
    timm.create_model("test_vit", num_classes=0).load_state_dict(weights, strict=True)
    assert method.exported(module) is module.teacher


def test_both_last_layers_wait():
    method, module, batch = _parts()
    first = TrainingProgress(0, 100, 0, 20)
    method.loss(module, method.forward(module, batch, first), batch, first)[0].backward()
    method.after_backward(module, first)
    assert module.head.last_layer.weight_v.grad is None
    assert module.token_head.last_layer.weight_v.grad is None


def test_what_it_cannot_work_with_is_refused():
    with pytest.raises(RequestError, match="backbone: method dinov2"):
        _parts("test_resnet")
    method, module, batch = _parts()
    with pytest.raises(RequestError, match="px: views of 50 px"):
        method.forward(module, replace(batch, views=[view[..., :50, :50] for view in batch.views]), MIDDLE)
