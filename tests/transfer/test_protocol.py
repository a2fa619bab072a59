import pytest
import yaml

from raysweep.errors import RequestError
from raysweep.storage import shipped
from raysweep.transfer.protocol import check_protocol, check_space, get_protocol, protocol_names, read_settings
from raysweep.transfer.spec import TransferSpec


def _shipped() -> list[str]:
    """Protocols of raysweep's own; other tests may have registered toys in this process."""
    return [name for name in protocol_names() if type(get_protocol(name)).__module__.startswith("raysweep.")]


def test_names_and_what_they_do() -> None:
    assert _shipped() == ["finetune", "linear"]
    assert get_protocol("linear").frozen
    assert not get_protocol("finetune").frozen
    check_protocol("finetune", "segmentation")
    check_protocol("linear", "classification")


def test_a_protocol_says_what_it_adapts_and_which_budget_keys_change_its_results() -> None:
    finetune, linear = get_protocol("finetune"), get_protocol("linear")
    assert (finetune.adaptation, linear.adaptation) == ("full", "frozen")
    assert {"trials", "val", "select"} == linear.budget < finetune.budget
    assert finetune.budget < set(TransferSpec.model_fields)


def test_linear_on_segmentation_is_one_sentence() -> None:
    with pytest.raises(RequestError, match=r"^protocols: protocol linear cannot do segmentation: it .* finetune for"):
        check_protocol("linear", "segmentation")


def test_an_unknown_protocol_names_the_nearest() -> None:
    with pytest.raises(RequestError, match="no protocol 'fintune'; did you mean finetune"):
        check_protocol("fintune", "classification")
    with pytest.raises(RequestError, match="use one of finetune, linear"):
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


@pytest.mark.parametrize("path", sorted(shipped("search_spaces").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_spaces_fit_their_protocol(path) -> None:
    name, kind = path.stem.rsplit("_", 1)
    space = yaml.safe_load(path.read_text())
    check_space(name, kind, space, where=path.name)
    assert path.read_text().startswith("# ")
    for bound in ("low", "high", "default"):
        read_settings(name, kind, {key: entry[bound] for key, entry in space.items()})
    assert all(entry["low"] < entry["high"] for entry in space.values())


def test_every_protocol_has_a_shipped_space_for_each_kind() -> None:
    shipped_names = {path.stem for path in shipped("search_spaces").glob("*.yaml")}
    assert shipped_names == {f"{name}_{kind}" for name in _shipped() for kind in get_protocol(name).kinds}
