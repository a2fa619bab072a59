import pytest
import torch

from raysweep.backbones.create import create_backbone, preprocessing
from raysweep.errors import RequestError


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_weights_are_a_function_of_the_seed_and_torchs_own_state_is_left_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one = create_backbone("test_resnet", seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert same(one, create_backbone("test_resnet.r160_in1k", seed=1))
    assert not same(one, create_backbone("test_resnet", seed=2))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
@pytest.mark.parametrize("px", [32, 64])
def test_pooled_features_at_any_size(name, px):
    model = create_backbone(name, seed=0).eval()
    with torch.no_grad():
        assert model(torch.zeros(2, 3, px, px)).shape == (2, model.num_features)


def test_arguments_reach_the_model():
    assert create_backbone("test_vit", seed=0, arguments={"embed_dim": 32}).num_features == 32


def test_preprocessing_is_timms():
    mean, std, px = preprocessing(create_backbone("resnet18.tv_in1k", seed=0))
    assert (mean, std, px) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224)


def test_unknown_name():
    with pytest.raises(RequestError, match="timm has no such model"):
        create_backbone("resnet1999", seed=0)
