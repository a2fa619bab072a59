from pathlib import Path

import optuna
import pytest

from raysweep.errors import RequestError
from raysweep.storage import shipped
from raysweep.sweep.space import default_of, distributions, load_space, suggest

C = {"type": "float", "low": 1e-3, "high": 1e3, "log": True, "default": 1.0}


def test_every_shipped_space_is_found_and_drawn_from() -> None:
    files = sorted(shipped("search_spaces").glob("*.yaml"))
    assert files
    for file in files:
        protocol, kind = file.stem.rsplit("_", 1)
        space = load_space(protocol, kind, {}, [])
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        for params in (suggest(study.ask(), space), default_of(space)):
            assert list(params) == sorted(space)
            for name, distribution in distributions(space).items():
                assert distribution._contains(distribution.to_internal_repr(params[name]))


def test_the_study_itself_wins_then_its_folder_then_what_ships(tmp_path: Path) -> None:
    assert load_space("linear", "classification", {}, [tmp_path])["C"]["low"] == 1e-6
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces/linear_classification.yaml").write_text("C: 0.5\n")
    assert load_space("linear", "classification", {}, [tmp_path]) == {"C": 0.5}
    (tmp_path / "linear_classification.yaml").write_text("C: {type: float, low: 1e-5, high: 2, default: 1e-1}\n")
    space = load_space("linear", "classification", {}, [tmp_path])
    assert space == {"C": {"type": "float", "low": 1e-5, "high": 2.0, "log": False, "default": 0.1}}
    assert isinstance(space["C"]["low"], float)  # YAML gives 1e-5 as a string
    assert load_space("linear", "classification", {"linear_classification": {"C": C}}, [tmp_path]) == {"C": C}


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"type": "floaty", "low": 1, "high": 2}, "type 'floaty' is none of float, int, categorical"),
        ({"type": "float", "low": 2, "high": 1}, "low 2.0 must be below high 1.0"),
        ({"type": "float", "low": 0, "high": 1, "log": True}, "above 0 on a log scale"),
        ({"type": "float", "low": 1}, "high must be a number, not None"),
        ({"type": "float", "low": 1, "high": float("inf")}, "finite number"),
        ({"type": "int", "low": 1, "high": 2.5}, "whole number, not 2.5"),
        ({"type": "float", "low": 1, "high": 2, "step": 1}, "no key 'step'"),
        ({"type": "float", "low": 1, "high": 2, "log": "yes"}, "log is true or false"),
        ({"type": "categorical", "values": []}, "values must be a list"),
        ({"type": "categorical", "values": [1, 1]}, "distinct"),
        ({"type": "float", "low": 1, "high": 2, "default": 2.5}, "default 2.5 must lie between low 1.0 and high 2.0"),
        ({"type": "float", "low": 1, "high": 2, "default": 0}, "default 0.0 must lie between low 1.0 and high 2.0"),
        ({"type": "float", "low": 1, "high": 2, "default": "x"}, "default must be a number, not 'x'"),
        ({"type": "int", "low": 1, "high": 2, "default": 1.5}, "default must be a whole number, not 1.5"),
        ({"type": "int", "low": 1, "high": 2, "default": 3}, "default 3 must lie between low 1 and high 2"),
        ({"type": "categorical", "values": ["a", 2], "default": "b"}, "default 'b' is none of the values"),
        ({"type": "categorical", "values": ["a", 2], "default": "2"}, "default '2' is none of the values"),
        ([1, 2], "categorical"),
    ],
)
def test_a_wrong_entry_is_one_sentence_naming_its_key(entry: object, says: str) -> None:
    if isinstance(entry, dict):
        entry = {"default": 1} | entry
    with pytest.raises(RequestError, match="linear_classification: C: ") as caught:
        load_space("linear", "classification", {"linear_classification": {"C": entry}}, [])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("entry", [C, {"type": "int", "low": 1, "high": 2}, {"type": "categorical", "values": [1]}])
def test_every_range_names_its_default(entry: dict) -> None:
    without = {key: value for key, value in entry.items() if key != "default"}
    says = r"^transfer\.spaces\.linear_classification: C: default is missing; name the value that the first trial"
    with pytest.raises(RequestError, match=says):
        load_space("linear", "classification", {"linear_classification": {"C": without}}, [])


@pytest.mark.parametrize(
    ("entry", "default"),
    [
        ({"type": "int", "low": 1, "high": 9, "default": "3"}, 3),
        ({"type": "int", "low": 1, "high": 9, "log": True, "default": 9.0}, 9),
        ({"type": "float", "low": 0, "high": 1, "default": 0}, 0.0),
        ({"type": "categorical", "values": ["a", None, False], "default": None}, None),
        ({"type": "categorical", "values": [1, 2.5], "default": 2.5}, 2.5),
        (0.25, 0.25),
    ],
)
def test_defaults_are_of_the_type_of_their_range(entry: object, default: object) -> None:
    space = load_space("linear", "classification", {"linear_classification": {"C": entry}}, [])
    assert repr(default_of(space)) == repr({"C": default})


def test_wrong_settings_spaces_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no setting 'c'"):
        load_space("linear", "classification", {"linear_classification": {"c": C}}, [])
    with pytest.raises(RequestError, match="maps names"):
        load_space("linear", "classification", {"linear_classification": [1]}, [])  # type: ignore[dict-item]
    with pytest.raises(RequestError, match=r"no search space linear_segmentation; write linear_segmentation\.yaml"):
        load_space("linear", "segmentation", {}, [tmp_path])
    (tmp_path / "linear_classification.yaml").write_text("C: {low\n")
    with pytest.raises(RequestError, match=r"linear_classification\.yaml, line 2: not YAML"):
        load_space("linear", "classification", {}, [tmp_path])


def test_constants_and_all_kinds_of_ranges_are_drawn() -> None:
    space = {
        "a": {"type": "int", "low": 2, "high": 9, "log": True, "default": 2},
        "b": {"type": "categorical", "values": ["x", None, 3], "default": 3},
        "c": C,
        "d": "constant",
    }
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [suggest(study.ask(), space) for _ in range(50)]
    assert {p["b"] for p in drawn} == {"x", None, 3}
    assert {p["d"] for p in drawn} == {"constant"}
    assert all(isinstance(p["a"], int) and 2 <= p["a"] <= 9 for p in drawn)
    assert all(1e-3 <= p["c"] <= 1e3 for p in drawn)
    assert sorted(distributions(space)) == ["a", "b", "c"]
