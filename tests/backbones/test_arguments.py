import re

import pytest
import torch
from pydantic import ValidationError
from timm import layers
from torch import nn

from raysweep.backbones.arguments import resolve_arguments, says_layers
from raysweep.backbones.create import check_arguments, create_backbone
from raysweep.backbones.given import Given
from raysweep.errors import RequestError


def test_layers_are_named_and_nothing_else_is_looked_at():
    given = {"mlp_layer": "SwiGLUPacked", "act_layer": "SiLU", "norm_layer": "layernorm", "depth": 2}
    found = resolve_arguments(given)
    assert found == {**given, "mlp_layer": layers.SwiGLUPacked, "act_layer": nn.SiLU}
    assert says_layers(given) == ["mlp_layer", "act_layer"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("SwiGLUPackd", "there is no layer SwiGLUPackd in timm.layers or torch.nn; did you mean SwiGLUPacked"),
        ("os.system", "there is no layer os.system"),
        ("__import__", "there is no layer __import__"),
        ("math", "there is no layer math"),
        ("lambda: 1", "there is no layer lambda: 1"),
    ],
)
def test_what_is_no_layer_is_refused(name, says):
    with pytest.raises(RequestError, match=re.escape(says)):
        create_backbone("test_vit", seed=0, arguments={"mlp_layer": name})


def test_named_layers_are_built():
    model = create_backbone("test_vit", seed=0, arguments={"mlp_layer": "SwiGLUPacked", "act_layer": "SiLU"})
    assert isinstance(model.blocks[0].mlp, layers.GluMlp)
    assert isinstance(model.blocks[0].mlp.act, nn.SiLU)


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("test_vit", {"no_such": 1}, "model_args (no_such): timm cannot build test_vit with them"),
        ("test_vit", {"embed_dim": 63}, "model_args (embed_dim): timm cannot build test_vit with them"),
    ],
)
def test_arguments_that_make_no_model_are_one_sentence(name, arguments, says):
    with pytest.raises(RequestError, match=re.escape(says)) as caught:
        check_arguments(name, arguments, None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["num_classes", "in_chans", "global_pool", "pretrained", "checkpoint_path"])
def test_arguments_that_raysweep_sets_are_refused(key):
    with pytest.raises(ValidationError, match=f"{key} is not to be given here"):
        Given(model_args={key: 1})


def test_what_a_fingerprint_covers_is_what_is_set_and_applies():
    given = Given(pool="avg", mean=(0.5, 0.5, 0.5), seen=["TCGA", "CPTAC", "TCGA"], allow_missing=["norm.*"])
    common = {"pool": "avg", "mean": [0.5, 0.5, 0.5], "seen": ["CPTAC", "TCGA"]}
    assert Given().covered("file:1:a") == {}
    assert given.covered("random") == common
    assert given.covered("file:1:a") == {**common, "allow_missing": ["norm.*"]}
    assert given.covered("published:uni2-h:ab") == {**common, "allow_missing": ["norm.*"]}


def test_a_std_of_nought_is_refused():
    with pytest.raises(ValidationError, match="every std must be above 0"):
        Given(std=(0.1, 0.0, 0.1))


IMAGES = torch.linspace(-1, 1, 2 * 3 * 64 * 64).view(2, 3, 64, 64)


def pooled(pool, name="test_vit", **arguments):
    with torch.no_grad():
        return create_backbone(name, seed=0, arguments=arguments, pool=pool).eval()(IMAGES)


def test_ways_of_pooling():
    name = "test_vit"
    arguments = {"reg_tokens": 2}
    model = create_backbone(name, seed=0, arguments=arguments).eval()
    with torch.no_grad():
        tokens = model.forward_features(IMAGES)
    torch.testing.assert_close(pooled("token", **arguments), tokens[:, 0])
    torch.testing.assert_close(pooled("avg", **arguments), tokens[:, 3:].mean(1))
    both = torch.cat([tokens[:, 0], tokens[:, 3:].mean(1)], dim=1)
    torch.testing.assert_close(pooled("token+avg", **arguments), both)
    for pool in ("token", "avg", "token+avg"):
        other = create_backbone(name, seed=0, arguments=arguments, pool=pool)
        assert list(other.state_dict()) == list(model.state_dict())
        assert other.num_features == tokens.shape[-1] * (2 if pool == "token+avg" else 1)


def test_a_joined_pool_learns():
    model = create_backbone("test_vit", seed=0, pool="token+avg")
    model(IMAGES).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "pool", "arguments", "says"),
    [
        ("test_resnet", "token", {}, "test_resnet is no vision transformer with tokens to pool"),
        ("test_vit", "token+avg", {"fc_norm": True}, "normalises what it has pooled"),
        ("test_vit4", "token", {}, "test_vit4 has no class token; use pool: avg"),
    ],
)
def test_pools_that_cannot_be(name, pool, arguments, says):
    with pytest.raises(RequestError, match=says):
        create_backbone(name, seed=0, arguments=arguments, pool=pool)


@pytest.mark.parametrize(
    "key", ["cache_dir", "checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay"]
)
def test_a_model_of_somebody_else_reads_no_file(key, tmp_path):
    """What a checkpoint's own file says of its backbone does not come by a study."""
    with pytest.raises(RequestError, match=rf"model_args\.{key}: weights come by init alone"):
        create_backbone("test_vit", seed=0, arguments={key: str(tmp_path / "a.pth")})
