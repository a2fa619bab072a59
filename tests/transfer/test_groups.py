"""What is trained how fast: as timm's own groups have it."""

from collections.abc import Callable

import pytest
import timm
from timm.optim import param_groups_layer_decay

from raysweep.backbones.checkpoint import CheckpointInfo
from raysweep.errors import RequestError
from raysweep.storage import Storage
from raysweep.transfer.groups import freeze_layers, layers_of, parameter_groups
from raysweep.transfer.network import build_network

Make = Callable[..., Storage]
RATES = {"lr": 1.0, "head_lr_factor": 3.0, "weight_decay": 0.05}


def _network(folder: Storage, kind: str = "classification"):
    network, info = build_network(folder, kind, n_classes=2, px=64, dropout=0.0, seed=0)
    return network, layers_of(info)


def _by_name(module, groups: list[dict]) -> dict[str, tuple[float, float]]:
    names = {id(p): name for name, p in module.named_parameters()}
    found = {
        names[id(p)]: (round(g["lr"], 9), g["weight_decay"]) for g in groups for p in g["params"] if id(p) in names
    }
    assert sum(len(g["params"]) for g in groups) == len({id(p) for g in groups for p in g["params"]})
    return found


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext", "test_efficientnet"])
@pytest.mark.parametrize("layer_decay", [0.6, 1.0])
def test_rates_and_exemptions_are_timms(checkpoint: Make, name: str, layer_decay: float) -> None:
    network, layers = _network(checkpoint(name))
    ours = _by_name(network.backbone, parameter_groups(network, layers, layer_decay=layer_decay, **RATES))
    theirs = timm.create_model(name, num_classes=2)  # with a head, the top layer
    exempt = theirs.no_weight_decay() if hasattr(theirs, "no_weight_decay") else ()
    groups = param_groups_layer_decay(
        theirs, weight_decay=0.05, layer_decay=layer_decay, no_weight_decay_list=exempt, verbose=False
    )
    wanted = _by_name(theirs, [g | {"lr": g["lr_scale"]} for g in groups])
    assert ours == {key: value for key, value in wanted.items() if key in ours}
    assert ours.keys() == dict(network.backbone.named_parameters()).keys()
    assert len(set(ours.values())) > (2 if layer_decay < 1 else 1)


def test_a_backbone_of_which_timm_knows_no_stages_is_trained_whole() -> None:
    info = CheckpointInfo(backbone="pit_xs_224", mean=(0, 0, 0), std=(1, 1, 1), init="random")
    layers = layers_of(info)
    backbone = timm.create_model("pit_xs_224", num_classes=0)
    freeze_layers(backbone, layers, 0, "pit_xs_224")
    assert all(layers.of(name) for name, _ in backbone.named_parameters())
    with pytest.raises(RequestError, match="freeze: backbone pit_xs_224 has 0 stages"):
        freeze_layers(backbone, layers, 1, "pit_xs_224")


def test_a_plain_vision_transformer_has_layer_decay_unless_told_otherwise(checkpoint: Make) -> None:
    for name, decay in (("test_vit", 0.75), ("test_resnet", 1.0)):
        network, layers = _network(checkpoint(name))
        own, said = (parameter_groups(network, layers, layer_decay=d, **RATES) for d in (None, decay))
        assert _by_name(network, own) == _by_name(network, said)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext"])
def test_a_pyramid_of_features_has_the_layers_of_its_backbone(checkpoint: Make, name: str) -> None:
    plain, layers = _network(checkpoint(name))
    unet, _ = _network(checkpoint(name), "segmentation")
    ours, wanted = (_by_name(n.backbone, parameter_groups(n, layers, layer_decay=0.5, **RATES)) for n in (unet, plain))
    flat = {key.replace(".", "_"): value for key, value in wanted.items()}
    assert {key.removeprefix("model.").replace(".", "_"): value for key, value in ours.items()}.items() <= flat.items()
    heads = _by_name(unet.head, parameter_groups(unet, layers, layer_decay=0.5, **RATES))
    assert {lr for lr, _ in heads.values()} == {3.0}
    assert {decay for _, decay in heads.values()} == {0.05, 0.0}


def test_freezing_starts_at_the_stem(checkpoint: Make) -> None:
    trained = []
    for number in (0, 1, 2, 5):
        network, layers = _network(checkpoint("test_resnet"))
        freeze_layers(network.backbone, layers, number, "test_resnet")
        still = {n.split(".")[0] for n, p in network.backbone.named_parameters() if not p.requires_grad}
        moving = {n.split(".")[0] for n, p in network.backbone.named_parameters() if p.requires_grad}
        assert not still & moving
        trained.append(sorted(moving))
        groups = parameter_groups(network, layers, **RATES)
        assert _by_name(network.backbone, groups).keys() == {
            n for n, p in network.backbone.named_parameters() if p.requires_grad
        }
    assert trained[0] == ["bn1", "conv1", "layer1", "layer2", "layer3", "layer4"]
    assert trained[1:] == [["layer1", "layer2", "layer3", "layer4"], ["layer2", "layer3", "layer4"], []]
    with pytest.raises(RequestError, match="freeze: backbone test_resnet has 5 stages, and 6 cannot be frozen"):
        freeze_layers(network.backbone, layers, 6, "test_resnet")
