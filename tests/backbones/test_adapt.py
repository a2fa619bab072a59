"""Files of the original releases load as timm itself would load them: names, positions, channels."""

import re

import pytest
import timm
import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from raysweep.backbones.create import create_backbone
from raysweep.backbones.keys import fit_keys

_SMALL = {"depth": 2, "embed_dim": 48, "num_heads": 3}
IMAGES = torch.linspace(-1, 1, 2 * 3 * 56 * 56).view(2, 3, 56, 56)


def build(name: str, seed: int = 0, **arguments: object) -> nn.Module:
    return create_backbone(name, seed=seed, arguments=arguments).eval()


def features(model: nn.Module, images: Tensor = IMAGES) -> Tensor:
    with torch.no_grad():
        return model(images)


def loaded(content: dict[str, Tensor], model: nn.Module) -> nn.Module:
    """The model with what fits, strictly all of it."""
    fitted = fit_keys(content, model)
    assert (fitted.missing, fitted.strays) == ([], [])
    model.load_state_dict({**model.state_dict(), **fitted.weights})
    return model


def released_dinov2(model: nn.Module, grid: int, seed: int) -> dict[str, Tensor]:
    """The names of torch.hub's dinov2_vits14_reg: the class token apart from its position, positions of `grid`."""
    state = dict(model.state_dict())
    width = state["cls_token"].shape[-1]
    draw = torch.Generator().manual_seed(seed)
    first, grids = torch.randn(1, 1, width, generator=draw), torch.randn(1, grid**2, width, generator=draw)
    state["register_tokens"] = state.pop("reg_token")
    state["pos_embed"] = torch.cat([first, grids], dim=1)
    state["mask_token"] = torch.zeros(1, width)
    return state


@pytest.mark.parametrize(("grid", "marked"), [(4, True), (4, False), (7, True)])
def test_dinov2_with_registers(grid, marked):
    source = build("vit_small_patch14_reg4_dinov2", seed=1, img_size=56, **_SMALL)
    content = released_dinov2(source, grid, seed=2)
    if not marked:
        del content["mask_token"]
    positions = resample_abs_pos_embed(content["pos_embed"][:, 1:], (4, 4), num_prefix_tokens=0)
    token = content["cls_token"] + content["pos_embed"][:, :1]
    source.load_state_dict({**source.state_dict(), "pos_embed": positions, "cls_token": token})
    target = loaded(content, build("vit_small_patch14_reg4_dinov2", img_size=56, **_SMALL))
    torch.testing.assert_close(features(target), features(source))
    assert fit_keys(content, target).dropped == (["mask_token"] if marked else [])


def test_kaikos_and_metas_gated_blocks():
    """DINOv2's giant has w12 and w3 where timm has fc1 and fc2."""
    arguments = {**_SMALL, "img_size": 56, "mlp_layer": "SwiGLUPacked", "act_layer": "SiLU"}
    source = build("vit_small_patch14_reg4_dinov2", seed=1, **arguments)
    content = {k.replace("fc1", "w12").replace("fc2", "w3"): v for k, v in released_dinov2(source, 4, 3).items()}
    token = content["cls_token"] + content["pos_embed"][:, :1]
    source.load_state_dict({**source.state_dict(), "pos_embed": content["pos_embed"][:, 1:], "cls_token": token})
    target = loaded(content, build("vit_small_patch14_reg4_dinov2", **arguments))
    torch.testing.assert_close(features(target), features(source))


def test_swin_as_it_was_released():
    """There a stage ends with the merging of patches, in timm the next one begins with it."""
    arguments = {"embed_dim": 12, "depths": (2, 1, 1), "num_heads": (1, 2, 4), "img_size": 56, "window_size": 7}
    source = timm.create_model("swin_tiny_patch4_window7_224", num_classes=5, **arguments).eval()
    content = {}
    for key, value in source.state_dict().items():
        moved = re.sub(r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", key)
        content[moved.replace("head.fc", "head")] = value
    content["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49)
    content["layers.0.blocks.1.attn_mask"] = torch.zeros(4, 49, 49)
    target = build("swin_tiny_patch4_window7_224", **arguments)
    fitted = fit_keys({"model": content}, target)
    assert sorted(fitted.dropped) == ["model.head.bias", "model.head.weight",
                                      "model.layers.0.blocks.0.attn.relative_position_index",
                                      "model.layers.0.blocks.1.attn_mask"]  # fmt: skip
    source.reset_classifier(0)
    assert torch.equal(features(loaded({"model": content}, target)), features(source))


@pytest.mark.parametrize(("there", "here"), [(64, 32), (32, 64)])
def test_positions_of_another_size_are_resampled_and_said(there, here):
    source = timm.create_model("test_vit", img_size=there)
    target = build("test_vit", img_size=here)
    fitted = fit_keys(source.state_dict(), target)
    grid = target.patch_embed.grid_size
    expected = resample_abs_pos_embed(source.pos_embed.detach(), grid, num_prefix_tokens=1)
    assert torch.equal(fitted.weights["pos_embed"], expected)
    assert fitted.missing == []
    assert any(note.startswith("pos_embed") and "resampled to" in note for note in fitted.notes)


def test_positions_that_are_no_grid_are_missing_by_name():
    content = timm.create_model("test_vit").state_dict()
    content["pos_embed"] = torch.zeros(1, 7, content["pos_embed"].shape[-1])
    fitted = fit_keys(content, build("test_vit"))
    assert fitted.missing == ["pos_embed"]
    assert "pos_embed (shape (1, 7, " in fitted.dropped[0]


@pytest.mark.parametrize(("name", "key"), [("test_resnet", "conv1.0.weight"), ("test_vit", "patch_embed.proj.weight")])
def test_a_grey_network_answers_grey_pictures_in_colour_the_same(name, key):
    grey = timm.create_model(name, num_classes=0, in_chans=1).eval()
    target = build(name)
    assert any(key in note for note in fit_keys(grey.state_dict(), target).notes)
    target = loaded(grey.state_dict(), target)
    picture = IMAGES[:, :1, :48, :48]
    torch.testing.assert_close(features(target, picture.expand(-1, 3, -1, -1)), features(grey, picture))


def test_of_four_channels_the_first_three_are_kept_and_scaled():
    four = timm.create_model("test_resnet", num_classes=0, in_chans=4)
    fitted = fit_keys(four.state_dict(), build("test_resnet"))
    weight = four.state_dict()["conv1.0.weight"]
    torch.testing.assert_close(fitted.weights["conv1.0.weight"], weight[:, :3] * 4 / 3)


def test_patches_of_another_size_are_another_network():
    fitted = fit_keys(timm.create_model("test_vit", patch_size=8).state_dict(), build("test_vit"))
    assert "patch_embed.proj.weight" in fitted.missing


def hugging_face(model: nn.Module, kind: str, prefix: str) -> dict[str, Tensor]:
    """A timm transformer's weights under the names of transformers' ViTModel or Dinov2Model."""
    words = {
        "cls_token": "embeddings.cls_token", "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj": "embeddings.patch_embeddings.projection", "blocks.": "encoder.layer.",
        "attn.proj": "attention.output.dense", "ls1.gamma": "layer_scale1.lambda1", "ls2.gamma": "layer_scale2.lambda1",
    }  # fmt: skip
    if kind == "vit":
        words |= {"norm1": "layernorm_before", "norm2": "layernorm_after", "mlp.fc1": "intermediate.dense",
                  "mlp.fc2": "output.dense"}  # fmt: skip
    found = {f"{prefix}embeddings.mask_token": torch.zeros(1, 48)} if kind == "dinov2" else {}
    for name, value in model.state_dict().items():
        key = re.sub(r"^norm\.", "layernorm.", name)
        for ours, theirs in words.items():
            key = key.replace(ours, theirs)
        if ".attn.qkv." in key:
            for part, piece in zip(("query", "key", "value"), value.chunk(3), strict=True):
                found[prefix + key.replace("attn.qkv", f"attention.attention.{part}")] = piece
        else:
            found[prefix + key] = value
    return found


def dinov2_by_hand(w: dict[str, Tensor], images: Tensor, heads: int) -> Tensor:
    """Dinov2Model's class token, written from its definition: norms with eps 1e-6, exact GELU, layer scale."""
    f = nn.functional

    def norm(x: Tensor, key: str) -> Tensor:
        return f.layer_norm(x, x.shape[-1:], w[f"{key}.weight"], w[f"{key}.bias"], eps=1e-6)

    def linear(x: Tensor, key: str) -> Tensor:
        return f.linear(x, w[f"{key}.weight"], w[f"{key}.bias"])

    kernel = w["embeddings.patch_embeddings.projection.weight"]
    x = f.conv2d(images, kernel, w["embeddings.patch_embeddings.projection.bias"], stride=kernel.shape[-1])
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([w["embeddings.cls_token"].expand(len(x), -1, -1), x], dim=1) + w["embeddings.position_embeddings"]
    for i in range(sum(k.endswith("norm1.weight") for k in w)):
        block = f"encoder.layer.{i}"
        y = norm(x, f"{block}.norm1")
        q, k, v = (linear(y, f"{block}.attention.attention.{p}").unflatten(-1, (heads, -1)).transpose(1, 2)
                   for p in ("query", "key", "value"))  # fmt: skip
        y = ((q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5).softmax(-1) @ v
        x = x + w[f"{block}.layer_scale1.lambda1"] * linear(y.transpose(1, 2).flatten(2),
                                                            f"{block}.attention.output.dense")  # fmt: skip
        y = linear(f.gelu(linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1")), f"{block}.mlp.fc2")
        x = x + w[f"{block}.layer_scale2.lambda1"] * y
    return norm(x, "layernorm")[:, 0]


def test_dinov2_of_transformers_gives_the_features_that_it_gives_there():
    arguments = {**_SMALL, "img_size": 56, "patch_size": 14, "init_values": 0.5}
    content = hugging_face(build("vit_small_patch16_224", seed=1, **arguments), "dinov2", "")
    target = build("vit_small_patch16_224", seed=2, **arguments)
    fitted = fit_keys(content, target, ordered=False)
    assert fitted.dropped == ["embeddings.mask_token"]
    assert fitted.notes[0] == "names of Hugging Face transformers"
    torch.testing.assert_close(features(loaded(content, target)), dinov2_by_hand(content, IMAGES, heads=3))


def test_a_vit_of_transformers():
    arguments = {**_SMALL, "img_size": 56, "patch_size": 14}
    source = build("vit_small_patch16_224", seed=1, **arguments)
    content = hugging_face(source, "vit", "vit.") | {"classifier.weight": torch.zeros(2, 48)}
    target = build("vit_small_patch16_224", **arguments)
    assert fit_keys(content, target).dropped == ["classifier.weight"]
    assert torch.equal(features(loaded(content, target)), features(source))
