from pathlib import Path

import optuna
import pytest

from raysweep.errors import RequestError
from raysweep.storage import shipped
from raysweep.sweep.entry import read_entry
from raysweep.sweep.space import default_of, distributions, load_space, present, suggest
from raysweep.transfer.protocol import get_protocol

C = {"type": "float", "low": 1e-3, "high": 1e3, "log": True, "default": 1.0}


def test_every_shipped_space_is_found_and_drawn_from() -> None:
    files = sorted(shipped("search_spaces").glob("*.yaml"))
    assert files
    for file in files:
        stem, _, variant = file.stem.partition("-")
        name, kind = stem.rsplit("_", 1)
        protocol, _, adaptation = name.partition("_")
        space = load_space(protocol, kind, {stem: variant} if variant else {}, [], adaptation)
        if get_protocol(protocol).frozen:  # a path
            continue
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        for params in (suggest(study.ask(), space), default_of(space)):
            assert list(params) == sorted(space)
            for name, distribution in distributions(space).items():
                assert distribution._contains(distribution.to_internal_repr(params[name]))


def test_the_study_itself_wins_then_its_folder_then_what_ships(tmp_path: Path) -> None:
    assert load_space("finetune", "segmentation", {}, [tmp_path])["lr"]["low"] == 1e-5
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces/finetune_segmentation.yaml").write_text("lr: 0.5\n")
    assert load_space("finetune", "segmentation", {}, [tmp_path]) == {"lr": 0.5}
    (tmp_path / "finetune_segmentation.yaml").write_text("lr: {type: float, low: 1e-5, high: 2, default: 1e-1}\n")
    space = load_space("finetune", "segmentation", {}, [tmp_path])
    assert space == {"lr": {"type": "float", "low": 1e-5, "high": 2.0, "log": False, "default": 0.1}}
    assert isinstance(space["lr"]["low"], float)  # YAML gives 1e-5 as a string
    assert load_space("finetune", "segmentation", {"finetune_segmentation": {"lr": C}}, [tmp_path]) == {"lr": C}


def test_a_frozen_protocol_has_a_path_in_one_canonical_form(tmp_path: Path) -> None:
    assert load_space("linear", "classification", {}, [])["C"]["values"] == [10.0**e for e in range(-6, 4)]
    assert load_space("svm", "classification", {}, [])["C"]["values"] == [10.0**e for e in range(-10, 1)]
    (tmp_path / "knn_classification.yaml").write_text("k: {values: [1, 5.0, 9], default: 5}\n")
    assert load_space("knn", "classification", {}, [tmp_path]) == {"k": {"values": [9, 5, 1], "default": 5}}
    with pytest.raises(
        RequestError, match=r"^transfer\.spaces\.linear_classification: C: linear has no trials: a range"
    ):
        load_space("linear", "classification", {"linear_classification": {"C": C}}, [])


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
        ([1, 2], "give one value, or choice(...)"),
    ],
)
def test_a_wrong_entry_is_one_sentence_naming_its_key(entry: object, says: str) -> None:
    if isinstance(entry, dict):
        entry = {"default": 1} | entry
    with pytest.raises(RequestError, match="finetune_classification: lr: ") as caught:
        load_space("finetune", "classification", {"finetune_classification": {"lr": entry}}, [])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("entry", [C, {"type": "int", "low": 1, "high": 2}, {"type": "categorical", "values": [1]}])
def test_every_range_names_its_default(entry: dict) -> None:
    without = {key: value for key, value in entry.items() if key != "default"}
    says = r"^transfer\.spaces\.finetune_classification: lr: default is missing; name the value that the first trial"
    with pytest.raises(RequestError, match=says):
        load_space("finetune", "classification", {"finetune_classification": {"lr": without}}, [])


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
    assert repr(default_of({"lr": read_entry(entry, "here")})) == repr({"lr": default})


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("head: choice(new, probed, default=new)", "head='probed': Input should be 'new' or 'probe'"),
        ("head: linear", "head='linear': Input should be"),
        ("dropout: uniform(0, 1, default=0.5)", "dropout=1.0: Input should be less than 1"),
        ("freeze: logint(1, 4, default=2.5)", "freeze: default must be a whole number"),
        ("batch_norm: 3", "batch_norm='3': Input should be"),
    ],
)
def test_values_that_the_protocol_does_not_take_are_refused_with_their_line(
    tmp_path: Path, line: str, says: str
) -> None:
    (tmp_path / "finetune_classification.yaml").write_text(f"lr: 1e-3\n{line}\n")
    with pytest.raises(RequestError, match=r"finetune_classification\.yaml, line 2: ") as caught:
        load_space("finetune", "classification", {}, [tmp_path])
    assert says in str(caught.value)


def test_a_decoder_starts_from_no_probe() -> None:
    says = r"_segmentation: finetune has no setting 'head' for segmentation tasks: it is one of classification; "
    with pytest.raises(RequestError, match=says):
        load_space("finetune", "segmentation", {"finetune_segmentation": {"lr": 1e-3, "head": "probe"}}, [])
    with pytest.raises(RequestError, match=r"there is no finetune_segmentation-probe\.yaml"):
        load_space("finetune", "segmentation", {"finetune_segmentation": "probe"}, [])


def test_wrong_settings_spaces_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no setting 'c'"):
        load_space("linear", "classification", {"linear_classification": {"c": C}}, [])
    with pytest.raises(RequestError, match="maps names"):
        load_space("linear", "classification", {"linear_classification": [1]}, [])  # type: ignore[dict-item]
    with pytest.raises(
        RequestError, match=r"transfer\.spaces\.finetune_classifcation: .* mean finetune_classification\?"
    ):
        load_space("linear", "classification", {"finetune_classifcation": {"lr": 1}}, [])
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


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("loguniform(1e-5, 1e-2, default=1e-3)",
         {"type": "float", "low": 1e-5, "high": 1e-2, "log": True, "default": 1e-3}),
        (" uniform( 0, .5, default = 0.1 )", {"type": "float", "low": 0.0, "high": 0.5, "log": False, "default": 0.1}),
        ("int(1, 12, default=4)", {"type": "int", "low": 1, "high": 12, "log": False, "default": 4}),
        ("logint(1, 64, default=8)", {"type": "int", "low": 1, "high": 64, "log": True, "default": 8}),
        ("choice(adamw, \"s, g\", null, 3, default=null)",
         {"type": "categorical", "values": ["adamw", "s, g", None, 3], "default": None}),
        ("choice(a, default=a)", {"type": "categorical", "values": ["a"], "default": "a"}),
        ("adamw", "adamw"),
        ({"range": "uniform(0, 1, default=1)"},
         {"type": "float", "low": 0.0, "high": 1.0, "log": False, "default": 1.0}),
    ],
)  # fmt: skip
def test_the_short_syntax_is_the_long_one(short: object, long: object) -> None:
    assert repr(read_entry(short, "x")) == repr(long)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("lognormal(0, 1, default=0)", "lognormal(...) is none of uniform, loguniform, int, logint, choice"),
        ("uniform(0, 1)", "default is missing"),
        ("uniform(0, default=1)", "uniform(0, default=1) has 1 ends; write it as uniform(1, 8, default=2)"),
        ("uniform(1, 0, default=1)", "low 1.0 must be below high 0.0"),
        ("loguniform(0, 1, default=1)", "above 0 on a log scale"),
        ("int(1, 2.5, default=1)", "high must be a whole number, not 2.5"),
        ("choice(default=1)", "values must be a list"),
        ("choice(a, b, default=c)", "default 'c' is none of the values"),
        ("choice(a, [b, default=c)", "cannot be read; write it as choice(a, b, default=a)"),
        ({"range": "uniform(0, 1, default=1)", "low": 1}, "beside range there is only when"),
        ({"range": 1, "when": []}, "when maps names"),
    ],
)
def test_a_wrong_short_form_is_one_sentence(entry: object, says: str) -> None:
    with pytest.raises(RequestError, match=r"^file, line 3: lr: ") as caught:
        read_entry(entry, "file, line 3: lr")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


CONDITIONS = {
    "optim": {"type": "categorical", "values": ["adamw", "sgd"], "default": "adamw"},
    "momentum": {"type": "float", "low": 0.5, "high": 0.99, "log": False, "default": 0.9, "when": {"optim": ["sgd"]}},
    "nesterov": {"type": "categorical", "values": [True, False], "default": True, "when": {"optim": ["sgd"]}},
    "damp": {"type": "int", "low": 1, "high": 3, "log": False, "default": 1, "when": {"nesterov": [False]}},
    "fixed": 7,
}


def test_a_setting_with_a_condition_is_there_only_then() -> None:
    assert default_of(CONDITIONS) == {"fixed": 7, "optim": "adamw"}
    assert list(default_of(CONDITIONS)) == ["fixed", "optim"]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [suggest(study.ask(), CONDITIONS) for _ in range(60)]
    seen = {tuple(params) for params in drawn}
    assert seen == {
        ("fixed", "optim"),
        ("fixed", "momentum", "nesterov", "optim"),
        ("damp", "fixed", "momentum", "nesterov", "optim"),
    }
    for params in drawn:
        assert ("momentum" in params) == (params["optim"] == "sgd")
        assert ("damp" in params) == (params.get("nesterov") is False)
        assert present(CONDITIONS, {"momentum": 0.5, "nesterov": True, "damp": 1} | params) == params
    assert sorted(distributions(CONDITIONS)) == ["damp", "momentum", "nesterov", "optim"]


def _file(folder: Path, text: str) -> dict:
    (folder / "finetune_classification.yaml").write_text(text)
    return load_space("finetune", "classification", {}, [folder])


def test_conditions_are_read_and_checked_by_line(tmp_path: Path) -> None:
    space = _file(
        tmp_path,
        """# the head
lr: 1e-3
dropout: choice(0.0, 0.2, default=0.0)
augment:
  range: uniform(0, 1, default=0.5)
  when: {dropout: 0.2}
weight_decay: {range: 0.1, when: {dropout: [0.0, 0.2]}}
""",
    )
    assert space["augment"] == {"type": "float", "low": 0.0, "high": 1.0, "log": False, "default": 0.5,
                                "when": {"dropout": [0.2]}}  # fmt: skip
    assert space["weight_decay"] == {"type": "categorical", "values": [0.1], "default": 0.1,
                                     "when": {"dropout": [0.0, 0.2]}}  # fmt: skip
    assert default_of(space) == {"dropout": 0.0, "lr": 1e-3, "weight_decay": 0.1}
    dropout = "dropout: choice(0.0, 0.2, default=0.0)\n"
    for text, says in (
        ("dropout: 0.1\nlr: {range: 'uniform(0, 1, default=1)', when: {dropout: 0.1}}", "line 2: lr: finetune always"),
        ("lr: 1\naugment: {range: 1, when: {nothing: 1}}", "line 2: augment: when: there is no setting 'nothing'"),
        (f"lr: 1\n{dropout}augment: {{range: 1, when: {{dropout: 0.3}}}}",
         "line 3: augment: when: dropout is never 0.3; it is one of [0.0, 0.2]"),
        ("lr: uniform(1, 2, default=1)\naugment: {range: 1, when: {lr: 1}}", "line 2: augment: when: lr is a range"),
        ("lr: 1\naugment: {range: 1, when: {dropout: 1}}\ndropout: {range: 1, when: {augment: 1}}",
         "line 2: augment: when: settings depend on each other in a loop"),
        ("lr: 1\n\nmomentum: 3", "line 3: finetune has no setting 'momentum'"),
        ("# nothing\n\nlr: uniform(2, 1, default=1)", "line 3: lr: low 2.0 must be below"),
    ):  # fmt: skip
        with pytest.raises(RequestError) as caught:
            _file(tmp_path, text)
        assert f"finetune_classification.yaml, {says}" in str(caught.value)


def test_a_study_may_name_another_space_that_ships_or_stands_beside_it(tmp_path: Path) -> None:
    named = {"finetune_classification": "mormont2020"}
    space = load_space("finetune", "classification", named, [tmp_path])
    assert space["lr"]["values"] == [1e-3, 1e-4, 1e-5, 1e-6]
    (tmp_path / "finetune_classification-mine.yaml").write_text("lr: 0.5\n")
    assert load_space("finetune", "classification", {"finetune_classification": "mine"}, [tmp_path]) == {"lr": 0.5}
    says = r": there is no finetune_classification-x\.yaml .* \(kawai2023, mine, mormont2020, probe\)"
    with pytest.raises(RequestError, match=says):
        load_space("finetune", "classification", {"finetune_classification": "x"}, [tmp_path])
