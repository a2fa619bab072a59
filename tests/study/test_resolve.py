from pathlib import Path

import pytest

from raysweep.errors import RequestError
from raysweep.patches.write import write_index
from raysweep.storage import Artefact, Storage
from raysweep.study.model import Study
from raysweep.study.resolve import CheckpointPlan, PatchSetPlan, resolve_checkpoints

_PATCHES = {"slides": "slides.csv", "um": 64, "px": 64}


def _resolve(tmp_path: Path, checkpoints: dict, seed: int = 0) -> dict[str, CheckpointPlan]:
    study = Study.model_validate(
        {"name": "s", "patches": {"tissue": _PATCHES}, "checkpoints": checkpoints, "seed": seed}
    )
    home = Storage.open(tmp_path / "s")
    spec = study.patches["tissue"]
    patch_sets = {"tissue": PatchSetPlan("tissue", spec, [], Artefact(home.at("patches", "tissue"), {"um": 64}))}
    return resolve_checkpoints(study, home, patch_sets, tmp_path)


_SIMCLR = {"method": "simclr", "patches": "tissue", "batch": 4}


def test_a_chain_inherits_the_backbone_and_takes_parents_seeds_in_turn(tmp_path: Path) -> None:
    plans = _resolve(
        tmp_path,
        {
            "again": {"init": "first", **_SIMCLR, "seeds": 3},
            "first": {"backbone": "resnet18", **_SIMCLR, "seeds": 2},
        },
    )
    first, again = plans["first"], plans["again"]
    assert again.spec.backbone == "resnet18"
    assert again.parent == "first"
    assert [i.root for i in again.inits if i] == [first.artefacts[k].folder.root for k in (0, 1, 0)]
    prints = [a.fingerprint for p in plans.values() for a in p.artefacts]
    assert len(set(prints)) == 5


def test_random_means_random_even_where_a_checkpoint_is_called_so(tmp_path: Path) -> None:
    plans = _resolve(tmp_path, {"random": {"backbone": "resnet18"}, "a": {"backbone": "resnet18", **_SIMCLR}})
    assert plans["a"].parent is None
    assert plans["random"].inits == [None]


def test_a_fingerprint_follows_its_inputs(tmp_path: Path) -> None:
    def of(epochs: int = 1, name: str = "b", seed: int = 0) -> str:
        chain = {"a": {"backbone": "resnet18", **_SIMCLR, "epochs": epochs}, name: {"init": "a", **_SIMCLR}}
        return _resolve(tmp_path, chain, seed)[name].artefacts[0].fingerprint

    assert of() == of(name="renamed"), "a name is not part of what a checkpoint is"
    assert of() != of(epochs=2), "what its init is made from is"
    assert of() != of(seed=1)


def test_a_grid_gives_one_checkpoint_per_point(tmp_path: Path) -> None:
    plans = _resolve(
        tmp_path,
        {"g": {"backbone": "resnet18", **_SIMCLR, "grid": {"lr": [0.1, 0.2], "tau": [0.1, 0.5]}}},
    )
    assert list(plans) == [
        "g-lr0.1-tau0.1",
        "g-lr0.1-tau0.5",
        "g-lr0.2-tau0.1",
        "g-lr0.2-tau0.5",
    ]
    last = plans["g-lr0.2-tau0.5"].spec
    assert last.lr == 0.2
    assert last.options == {"tau": 0.5}
    assert len({p.artefacts[0].fingerprint for p in plans.values()}) == 4


@pytest.mark.parametrize(
    ("checkpoints", "sentence"),
    [
        ({"a": {"init": "b"}, "b": {"init": "a"}}, r"checkpoints\.a\.init: the chain has a loop \(a -> b -> a\)"),
        ({"a": {"init": "a"}}, r"checkpoints\.a\.init: the chain has a loop \(a -> a\)"),
        ({"a": {"backbone": "resnet18", "init": "timn"}}, r"init timn is neither .*; did you mean timm\?"),
        ({"a": {"backbone": "resnet18", "init": "gone.safetensors"}}, r"init gone\.safetensors is neither"),
        ({"a": {"init": "random"}}, r"checkpoints\.a: backbone is missing"),
        ({"a": {"backbone": "resnet50", "init": "timm"}}, r"checkpoints\.a: .*resnet50.*resnet50\.tv_in1k"),
        ({"a": {"backbone": "resnet8"}}, r"checkpoints\.a: .*resnet8.*resnet18"),
        ({"a": {"backbone": "resnet18", "method": "simclt", "patches": "tissue"}}, r"simclt.*simclr"),
        ({"a": {"backbone": "resnet18", "method": "simclr", "patches": "tisue"}}, r"tisue.*did you mean tissue\?"),
        ({"a": {"backbone": "resnet18", **_SIMCLR, "options": {"taus": 1}}}, r"options\.taus: .*tau"),
        (
            {"a": {"backbone": "resnet18"}, "b": {"init": "a", "backbone": "resnet50"}},
            r"resnet50 differs from resnet18",
        ),
        ({"a": {"backbone": "resnet18", **_SIMCLR, "grid": {"batch": [0]}}}, r"checkpoints\.a\.grid: batch"),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path: Path, checkpoints: dict, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence) as caught:
        _resolve(tmp_path, checkpoints)
    assert "\n" not in str(caught.value)


def test_checkpoints_and_patch_sets_of_another_study_are_named_by_path(tmp_path: Path) -> None:
    there = Artefact(Storage.open(tmp_path / "other/checkpoints/a"), {"x": 1})
    there.folder.write_bytes(b"", "backbone.safetensors")
    path = there.folder.root
    with pytest.raises(RequestError, match="this checkpoint is not finished"):
        _resolve(tmp_path, {"a": {"init": path}})
    there.commit(config={"backbone": "resnet18"}, counts={}, timings={})
    patches = Artefact(Storage.open(tmp_path / "other/patches/p"), {"x": 2})
    spec = {"init": path, "method": "simclr", "patches": patches.folder.root, "batch": 4}
    with pytest.raises(RequestError, match="no finished patch set in this folder"):
        _resolve(tmp_path, {"a": spec})
    patches.commit(config={}, counts={"failed": 0}, timings={})
    with pytest.raises(RequestError, match="no finished patch set in this folder"):
        _resolve(tmp_path, {"a": spec})  # as a folder of another kind
    write_index(patches.folder, [], [])
    plan = _resolve(tmp_path, {"a": spec})["a"]
    assert plan.spec.backbone == "resnet18"
    assert plan.inits[0]
    assert plan.inits[0].root == path
    assert plan.patches
    assert plan.patches.root == patches.folder.root
