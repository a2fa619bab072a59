import pytest
import torch

from raysweep.backbones.keys import fit_keys

TARGET = {
    "conv1.weight": torch.zeros(4, 3, 3, 3),
    "bn1.weight": torch.zeros(4),
    "bn1.running_mean": torch.zeros(4),
    "layer1.0.conv1.weight": torch.zeros(4, 4, 3, 3),
}


def weights(prefix: str, value: float = 1.0) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": torch.full_like(tensor, value) for name, tensor in TARGET.items()}


@pytest.mark.parametrize(
    "prefix", ["", "module.", "backbone.", "encoder.", "module.encoder_q.", "_feature_blocks.", "model.trunk.0.net."]
)
def test_prefixes_are_taken_off(prefix):
    fitted = fit_keys(weights(prefix), TARGET)
    assert fitted.prefix == prefix
    assert fitted.weights.keys() == TARGET.keys()
    assert (fitted.dropped, fitted.missing) == ([], [])


def test_nested_dictionaries_are_looked_through():
    """The layout of VISSL's files."""
    model = {"trunk": weights("_feature_blocks."), "heads": {"0.w": torch.zeros(2)}}
    content = {"epoch": 3, "classy_state_dict": {"base_model": {"model": model}}}
    fitted = fit_keys(content, TARGET)
    assert fitted.weights.keys() == TARGET.keys()
    assert fitted.dropped == ["classy_state_dict.base_model.model.heads.0.w"]


def test_every_key_dropped_or_missing_is_named():
    content = {**weights("module."), "module.fc.weight": torch.zeros(9, 4), "queue": torch.zeros(2)}
    del content["module.bn1.weight"]
    content["module.conv1.weight"] = torch.zeros(4, 1, 3, 3)
    fitted = fit_keys(content, TARGET)
    assert fitted.dropped == [
        "module.conv1.weight (shape (4, 1, 3, 3), not (4, 3, 3, 3))",
        "module.fc.weight",
        "queue",
    ]
    assert fitted.missing == ["conv1.weight", "bn1.weight"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("module.encoder_q.", "module.encoder_k."),
        ("teacher.backbone.", "student.module.backbone."),
        ("online_network.", "target_network."),
        ("base_encoder.", "momentum_encoder."),
        ("state_dict_ema.", "state_dict."),
        ("state_dict.", "optimizer.state."),
    ],
)
def test_of_two_copies_the_meant_one_is_taken(first, second):
    for content in (weights(first, 1) | weights(second, 2), weights(second, 2) | weights(first, 1)):
        fitted = fit_keys(content, TARGET)
        assert fitted.prefix == first
        assert all((tensor == 1).all() for tensor in fitted.weights.values())


def test_one_trunk_of_a_network_with_many_heads():
    content = weights("features.") | {f"heads.{task}.weight": torch.zeros(2, 4) for task in "abc"}
    fitted = fit_keys(content, TARGET)
    assert fitted.prefix == "features."
    assert fitted.dropped == ["heads.a.weight", "heads.b.weight", "heads.c.weight"]


def test_nothing_fits():
    fitted = fit_keys({"other": torch.zeros(1), "note": "text"}, TARGET)
    assert fitted.weights == {}
    assert fitted.missing == list(TARGET)
