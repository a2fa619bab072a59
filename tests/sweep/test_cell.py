from pathlib import Path

import pytest

from raysweep.storage import Storage, fingerprint
from raysweep.sweep import cell
from raysweep.sweep.cell import Repeat, repeat_inputs
from raysweep.transfer.protocol import get_protocol
from raysweep.transfer.spec import TransferSpec
from tests.sweep.toy import SPACE, toy_cells

BASE = {"checkpoints": ["c0"], "task": "t", "protocol": "finetune", "kind": "classification", "fraction": 0.5,
        "space": SPACE, "seed": 0}  # fmt: skip
CHANGED = {"trials": 9, "val": 0.3, "val_images": 50, "steps": 7, "epochs": 2.0, "evaluations": 3, "batch": 8,
           "select": "last", "early_stopping": "none"}  # fmt: skip
FROZEN = ["linear", "svm", "knn"]


def _fingerprint(transfer: dict, **change) -> str:
    return fingerprint(repeat_inputs(TransferSpec.model_validate(transfer), **(BASE | change)))


def _changes(protocol: str) -> set[str]:
    """The keys of the budget whose change makes other repeats."""
    plain = _fingerprint({}, protocol=protocol)
    return {key for key, value in CHANGED.items() if _fingerprint({key: value}, protocol=protocol) != plain}


def test_only_the_budget_that_a_protocol_uses_is_part_of_its_repeats() -> None:
    assert _changes("finetune") == set(CHANGED) == get_protocol("finetune").budget
    assert all(_changes(name) == set() == get_protocol(name).budget for name in FROZEN)


def test_a_budget_that_is_named_by_a_word_is_the_keys_that_it_stands_for() -> None:
    same = {"trials": 4, "repeats": 3, "steps": 250, "evaluations": 4}
    assert _fingerprint({"budget": "light"}) == _fingerprint(same) != _fingerprint({})
    assert _fingerprint({"budget": "full", "trials": 8}) == _fingerprint({}), "repeats are not part of it"


def test_adapters_make_other_repeats_and_what_a_protocol_always_does_none() -> None:
    assert _fingerprint({}, adaptation="lora") != _fingerprint({})
    assert _fingerprint({}, adaptation="full") == _fingerprint({}) == _fingerprint({"adapt": "full"})
    assert _fingerprint({}, protocol="linear", adaptation="frozen") == _fingerprint({}, protocol="linear")


@pytest.mark.parametrize("protocol", ["finetune", *FROZEN])
def test_keeping_models_makes_no_other_repeats(protocol: str) -> None:
    assert _fingerprint({"keep_models": "none"}, protocol=protocol) == _fingerprint({}, protocol=protocol)


@pytest.mark.parametrize("protocol", ["finetune", *FROZEN])
def test_who_chooses_settings_is_part_of_every_repeat_that_has_trials(protocol: str) -> None:
    plain = _fingerprint({}, protocol=protocol)
    assert (_fingerprint({"sampler": "grid"}, protocol=protocol) != plain) == (
        "trials" in get_protocol(protocol).budget
    )
    assert _fingerprint({"sampler": "tpe"}, protocol=protocol) == plain


@pytest.mark.parametrize("protocol", ["finetune", *FROZEN])
def test_what_a_fraction_counts_and_trials_at_once_are_part_of_every_repeat(protocol: str) -> None:
    plain = _fingerprint({}, protocol=protocol)
    assert _fingerprint({"fraction_of": "units"}, protocol=protocol) != plain
    several = _fingerprint({"parallel_per_repeat": 2}, protocol=protocol)
    assert (several == plain) == (protocol in FROZEN)  # which have no trials
    assert _fingerprint({"parallel_per_repeat": 1}, protocol=protocol) == plain


def test_the_format_of_a_path_is_part_of_its_repeats_and_that_of_searches_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    linear, finetune = (_fingerprint({}, protocol=name) for name in ("linear", "finetune"))
    monkeypatch.setattr(cell, "_SEARCH_FORMAT", 99)
    assert _fingerprint({}, protocol="linear") == linear
    assert _fingerprint({}, protocol="finetune") != finetune
    monkeypatch.setattr(type(get_protocol("linear")), "path_format", 99)
    assert _fingerprint({}, protocol="linear") != linear


@pytest.mark.parametrize(
    "change",
    [{"checkpoints": ["c0", "c1"]}, {"task": "u"}, {"protocol": "linear"}, {"fraction": 1.0}, {"seed": 1},
     {"space": SPACE | {"pace": 1.0}}, {"kind": "segmentation"}],
)  # fmt: skip
def test_so_are_its_inputs(change: dict) -> None:
    assert _fingerprint({}) != _fingerprint({}, **change)


@pytest.mark.parametrize("protocol", ["finetune", "linear"])
def test_more_repeats_and_other_cells_of_the_study_are_not(protocol: str) -> None:
    more = {"protocols": ["finetune", "linear"], "fractions": [0.1, 1.0], "spaces": {"other": {"C": 1}}, "repeats": 60}
    assert _fingerprint({}, protocol=protocol) == _fingerprint(more, protocol=protocol)


def test_a_search_elsewhere_is_covered_by_what_it_searched() -> None:
    once = {"search": "once"}
    assert _fingerprint(once) == _fingerprint({})  # repeat 0 is the same either way
    served = _fingerprint(once, searched_on=["c0"])
    assert served != _fingerprint(once)
    assert served != _fingerprint(once, searched_on=["c1"])
    inputs = repeat_inputs(TransferSpec(), **BASE)
    assert "searched_on" not in inputs


def test_the_name_is_what_people_say(tmp_path: Path) -> None:
    assert [c.name for c in toy_cells(tmp_path, TransferSpec())] == ["a/toy-task/toy/1", "b/toy-task/toy/1"]


def test_repeats_are_folders_below_the_cells(tmp_path: Path) -> None:
    cell = toy_cells(tmp_path, TransferSpec(repeats=3), checkpoints="a", pretraining_seeds=2)[0]
    homes = [Path(repeat.artefact.folder.root) for repeat in cell.repeats]
    assert [home.name for home in homes] == ["0", "1", "2"]
    assert homes[0].parent == homes[2].parent != homes[1].parent  # another pretraining seed, another fingerprint


def test_weights_and_features_are_one_for_all_folds_or_one_for_each(tmp_path: Path) -> None:
    one, two = (Storage.open(tmp_path / name) for name in ("one", "two"))
    artefact = toy_cells(tmp_path, TransferSpec(repeats=1))[0].repeats[0].artefact
    shared, own = Repeat(0, artefact, 0, (one,)), Repeat(0, artefact, 0, (one, two), (two, one))
    assert [shared.weights_of(fold) for fold in (0, 1)] == [one, one]
    assert [own.weights_of(fold) for fold in (0, 1)] == [one, two]
    assert [shared.features_of(fold) for fold in (0, 1)] == [None, None]
    assert [own.features_of(fold) for fold in (0, 1)] == [two, one]


def test_a_decoder_is_part_of_the_repeats_of_segmentation_and_of_no_others() -> None:
    made = BASE | {"kind": "segmentation"}
    unet, light = (repeat_inputs(TransferSpec(), **made, decoder=name) for name in ("unet", "light"))
    assert unet["decoder"] == "unet"
    assert fingerprint(unet) != fingerprint(light)
    assert "decoder" not in repeat_inputs(TransferSpec(decoder="light"), **BASE)
    assert _fingerprint({"decoder": "light"}) == _fingerprint({})
