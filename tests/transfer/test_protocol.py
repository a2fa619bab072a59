from typing import get_args

import pytest
import yaml

from raysweep.errors import RequestError
from raysweep.storage import shipped
from raysweep.transfer.protocol import (
    check_protocol,
    check_space,
    get_protocol,
    protocol_names,
    read_path,
    read_settings,
    space_name,
)
from raysweep.transfer.spec import Adapt, TransferSpec

FROZEN = ["knn", "linear", "svm"]
# the grids of published studies (finetune_classification-mormont2020) are tests/sweep/test_space.py's
_DEFAULTS = [path for path in sorted(shipped("search_spaces").glob("*.yaml")) if "-" not in path.stem]


def _shipped() -> list[str]:
    """Protocols of raysweep's own; other tests may have registered toys in this process."""
    return [name for name in protocol_names() if type(get_protocol(name)).__module__.startswith("raysweep.")]


def test_names_and_what_they_do() -> None:
    assert _shipped() == ["finetune", "knn", "linear", "svm"]
    assert [name for name in _shipped() if get_protocol(name).frozen] == FROZEN
    assert not get_protocol("finetune").frozen
    check_protocol("finetune", "segmentation")
    check_protocol("linear", "classification")


def test_a_protocol_says_what_it_adapts_and_which_budget_keys_change_its_results() -> None:
    finetune, linear = get_protocol("finetune"), get_protocol("linear")
    assert (finetune.adaptation, linear.adaptation) == ("full", "frozen")
    assert all(get_protocol(name).budget == frozenset() for name in FROZEN)
    assert finetune.budget < set(TransferSpec.model_fields)


def test_linear_on_segmentation_is_one_sentence() -> None:
    with pytest.raises(RequestError, match=r"^protocols: protocol linear cannot do segmentation: it .* finetune for"):
        check_protocol("linear", "segmentation")


def test_an_unknown_protocol_names_the_nearest() -> None:
    with pytest.raises(RequestError, match="no protocol 'fintune'; did you mean finetune"):
        check_protocol("fintune", "classification")
    with pytest.raises(RequestError, match="use one of finetune, knn, linear, svm"):
        get_protocol("xyz")


def test_a_space_must_name_settings_of_its_protocol() -> None:
    with pytest.raises(RequestError, match="finetune has no setting 'weight_decy'; did you mean weight_decay"):
        check_space("finetune", "classification", ["lr", "weight_decy"], where="spaces.a")
    with pytest.raises(RequestError, match="finetune has no setting 'dropout'"):
        check_space("finetune", "segmentation", ["lr", "dropout"], where="spaces.a")
    with pytest.raises(RequestError, match="the setting 'lr' of finetune is missing"):
        check_space("finetune", "classification", ["dropout"], where="spaces.a")


def test_settings_out_of_range_name_the_setting() -> None:
    with pytest.raises(RequestError, match=r"params of linear: C=-1: .*greater than 0"):
        read_settings("linear", "classification", {"C": -1})


def test_a_path_goes_from_the_strongest_regularisation_to_the_weakest() -> None:
    def path(name: str, entry: object) -> tuple:
        key = get_protocol(name).setting  # type: ignore[attr-defined]
        return read_path(name, "classification", {key: entry}, where="spaces.a")

    assert path("linear", {"values": [1, "1e-3", 0.1], "default": 0.1}) == ([1e-3, 0.1, 1.0], 0.1)
    assert path("knn", {"values": [1, 20, 5], "default": 5}) == ([20, 5, 1], 5)
    assert path("svm", 0.01) == path("svm", [0.01]) == ([0.01], 0.01)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (
            {"type": "float", "low": 1e-5, "high": 2, "default": 1},
            r"linear has no trials: a range \(type\) cannot be sea",
        ),
        ("loguniform(1e-5, 1)", r"C='loguniform\(1e-5, 1\)': should be a number$"),
        ({"values": [], "default": 1}, "values must be a list"),
        ({"values": [1, 2]}, "default is missing"),
        ([1, 2], "default is missing"),
        ({"values": [1, 1.0], "default": 1}, "values must be distinct"),
        ({"values": [1, 2], "default": 3}, "default 3 is none of the values"),
        ({"values": [1, -2], "default": 1}, "C=-2: .*greater than 0"),
    ],
)
def test_what_is_no_path_is_refused_in_one_sentence(entry: object, says: str) -> None:
    with pytest.raises(RequestError, match=says) as caught:
        read_path("linear", "classification", {"C": entry}, where="spaces.a")
    assert str(caught.value).startswith("spaces.a: C: ")
    with pytest.raises(RequestError, match="linear has no setting 'c'"):
        read_path("linear", "classification", {"c": entry}, where="spaces.a")


@pytest.mark.parametrize("path", _DEFAULTS, ids=lambda path: path.stem)
def test_shipped_spaces_fit_their_protocol(path) -> None:
    name, kind = path.stem.rsplit("_", 1)
    name, _, adaptation = name.partition("_")
    space = yaml.safe_load(path.read_text())
    check_space(name, kind, space, where=path.name, adaptation=adaptation)
    assert path.read_text().startswith("# ")
    if get_protocol(name).frozen:
        assert len(read_path(name, kind, space, where=path.name).values) > 7
        return
    for bound in ("low", "high", "default"):
        read_settings(name, kind, {key: entry[bound] for key, entry in space.items()}, adaptation)
    assert all(entry["low"] < entry["high"] for entry in space.values())


def test_every_protocol_has_a_shipped_space_for_each_kind() -> None:
    shipped_names = {path.stem for path in _DEFAULTS}
    wanted = {space_name(name, kind, get_protocol(name).adaptation_of(adapt, lambda: False))
              for name in _shipped() for kind in get_protocol(name).kinds for adapt in get_args(Adapt)}  # fmt: skip
    assert shipped_names == wanted


def test_large_backbones_are_adapted_unless_told_otherwise() -> None:
    finetune, linear = get_protocol("finetune"), get_protocol("linear")
    assert [finetune.adaptation_of("auto", lambda large=large: large) for large in (False, True)] == ["full", "lora"]
    for adapt in ("full", "lora"):
        assert finetune.adaptation_of(adapt, pytest.fail) == adapt  # nobody needs to know how large it is
    assert linear.adaptation_of("auto", pytest.fail) == "frozen"
    assert space_name("finetune", "classification", "full") == "finetune_classification"
    assert space_name("finetune", "classification", "lora") == "finetune_lora_classification"
