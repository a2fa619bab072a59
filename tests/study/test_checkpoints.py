from pathlib import Path

import pytest

from raysweep.errors import RequestError
from raysweep.patches.write import write_index
from raysweep.pretrain.source import SourceInput
from raysweep.storage import Artefact, Storage
from raysweep.study.checkpoints import CheckpointPlan, plan_checkpoints
from raysweep.study.model import Study
from raysweep.study.patch_sets import PatchSetPlan

_PATCHES = {"slides": "slides.csv", "um": 64, "px": 64}


def _plan(
    tmp_path: Path, checkpoints: dict, seed: int = 0, planned: dict | None = None, **keys: object
) -> dict[str, CheckpointPlan]:
    study = Study.model_validate(
        {"name": "s", "storage": str(tmp_path), "patches": {"tissue": _PATCHES}, "checkpoints": checkpoints,
         "seed": seed, **keys}
    )  # fmt: skip
    home = Storage.open(tmp_path / "s")
    spec = study.patches["tissue"]
    patch_sets = {"tissue": PatchSetPlan("tissue", spec, [], Artefact(home.at("patches", "tissue"), {"um": 64}))}
    return plan_checkpoints(study, home, patch_sets, {}, planned or {}, tmp_path)


_SIMCLR = {"method": "simclr", "patches": "tissue", "batch": 4}


def test_a_chain_inherits_the_backbone_and_takes_parents_seeds_in_turn(tmp_path: Path) -> None:
    plans = _plan(
        tmp_path,
        {
            "again": {"init": "first", **_SIMCLR, "seeds": 3},
            "first": {"backbone": "resnet18", **_SIMCLR, "seeds": 2},
        },
    )
    first, again = plans["first"], plans["again"]
    assert again.spec.backbone == "resnet18"
    assert again.parent == "first"
    assert [p.init.root for p in again.pretrainings if p.init] == [first.artefacts[k].folder.root for k in (0, 1, 0)]
    prints = [a.fingerprint for p in plans.values() for a in p.artefacts]
    assert len(set(prints)) == 5


def test_random_means_random_even_where_a_checkpoint_is_called_so(tmp_path: Path) -> None:
    plans = _plan(tmp_path, {"random": {"backbone": "resnet18"}, "a": {"backbone": "resnet18", **_SIMCLR}})
    assert plans["a"].parent is None
    assert [p.init for p in plans["random"].pretrainings] == [None] * 6


def test_a_fingerprint_follows_its_inputs(tmp_path: Path) -> None:
    def of(epochs: int = 1, name: str = "b", seed: int = 0) -> str:
        chain = {"a": {"backbone": "resnet18", **_SIMCLR, "epochs": epochs}, name: {"init": "a", **_SIMCLR}}
        return _plan(tmp_path, chain, seed)[name].artefacts[0].fingerprint

    assert of() == of(name="renamed"), "a name is not part of what a checkpoint is"
    assert of() != of(epochs=2), "what its init is made from is"
    assert of() != of(seed=1)


def test_a_grid_gives_one_checkpoint_per_point(tmp_path: Path) -> None:
    plans = _plan(
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
    assert {plan.row for plan in plans.values()} == set(plans)
    assert "epochs" not in last.model_fields_set, "what is not given is left for a preset to fill in"


def test_points_that_are_chosen_among_share_a_row_and_no_fingerprint_knows(tmp_path: Path) -> None:
    def plan(**keys: object) -> dict[str, CheckpointPlan]:
        return _plan(tmp_path, {"g": {"backbone": "resnet18", **_SIMCLR, "grid": {"lr": [0.1, 0.2]}, **keys}})

    chosen, plain = plan(choose="own_val"), plan()
    assert [(p.name, p.row, p.choose) for p in chosen.values()] == [
        ("g-lr0.1", "g", "own_val"), ("g-lr0.2", "g", "own_val")
    ]  # fmt: skip
    assert [p.artefacts[0].fingerprint for p in chosen.values()] == [p.artefacts[0].fingerprint for p in plain.values()]
    with pytest.raises(
        RequestError, match=r"checkpoints\.g\.grid: there are two checkpoints called g-lr0\.1; rename one"
    ):
        _plan(tmp_path, {"g-lr0.1": {"backbone": "resnet18"}, "g": {"backbone": "resnet18", "grid": {"lr": [0.1]}}})


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
        ({"a": {"init": "study:gone/a"}}, "study gone has no checkpoint a; there is no study gone with checkpoints"),
        ({"a": {"init": "study:gone"}}, r"checkpoints\.a: init study:gone: write study:STUDY/CHECKPOINT"),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path: Path, checkpoints: dict, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence) as caught:
        _plan(tmp_path, checkpoints)
    assert "\n" not in str(caught.value)


def test_checkpoints_and_patch_sets_of_another_study_are_named_by_path(tmp_path: Path) -> None:
    there = Artefact(Storage.open(tmp_path / "other/checkpoints/a"), {"x": 1})
    there.folder.write_bytes(b"", "backbone.safetensors")
    path = there.folder.root
    with pytest.raises(RequestError, match="this checkpoint is not finished"):
        _plan(tmp_path, {"a": {"init": path}})
    there.commit(config={"backbone": "resnet18"}, counts={}, timings={})
    patches = Artefact(Storage.open(tmp_path / "other/patches/p"), {"x": 2})
    spec = {"init": path, "method": "simclr", "patches": patches.folder.root, "batch": 4}
    with pytest.raises(RequestError, match="no finished patch set in this folder"):
        _plan(tmp_path, {"a": spec})
    patches.commit(config={"px": 64, "um": 64}, counts={"failed": 0}, timings={})
    with pytest.raises(RequestError, match="no finished patch set in this folder"):
        _plan(tmp_path, {"a": spec})  # as a folder of another kind
    write_index(patches.folder, [], [])
    plan = _plan(tmp_path, {"a": spec})["a"]
    assert plan.spec.backbone == "resnet18"
    [made] = plan.pretrainings
    assert made.init
    assert made.init.root == path
    [source] = plan.sources_of(made)
    assert source == SourceInput(patches.folder.root, patches.folder)


def test_a_random_init_is_drawn_anew_for_every_repeat_and_more_repeats_redo_nothing(tmp_path: Path) -> None:
    def drawn(repeats: int) -> list[str]:
        plans = _plan(tmp_path, {"a": {"backbone": "resnet18"}}, transfer={"repeats": repeats})
        assert [plans["a"].of("any", 0, repeat).seed for repeat in range(repeats)] == list(range(repeats))
        return [a.fingerprint for a in plans["a"].artefacts]

    assert len(set(drawn(4))) == 4
    assert drawn(6)[:4] == drawn(4)


@pytest.mark.parametrize(("seeds", "repeats", "fits"), [(3, 6, True), (3, 5, False), (9, 2, False), (1, 5, True)])
def test_every_pretraining_weighs_the_same(tmp_path: Path, seeds: int, repeats: int, fits: bool) -> None:
    how = {"tasks": ["demo-tissue"], "transfer": {"repeats": repeats}}
    checkpoints = {"a": {"backbone": "resnet18", **_SIMCLR, "seeds": seeds}}
    if not fits:
        with pytest.raises(
            RequestError, match=rf"checkpoints\.a: seeds: {repeats} repeats cannot use {seeds} pretrain"
        ):
            _plan(tmp_path, checkpoints, **how)
        return
    plan = _plan(tmp_path, checkpoints, **how)["a"]
    used = [plan.of("any", 0, repeat).seed for repeat in range(repeats)]
    assert {used.count(seed) for seed in range(seeds)} == {repeats // seeds}


def test_a_checkpoint_of_another_study_is_named_by_study_and_name(tmp_path: Path) -> None:
    home = Storage.open(tmp_path / "other/checkpoints/a")
    made = [Artefact(home, {"x": i}) for i in range(2)]
    home.write_bytes("".join(f"{a.fingerprint[:8]}\n" for a in made).encode(), "current")
    with pytest.raises(RequestError, match="init study:other/a: this checkpoint is not finished; run study other"):
        _plan(tmp_path, {"b": {"init": "study:other/a"}})
    for artefact in made:
        artefact.commit(config={"backbone": "resnet18"}, counts={}, timings={})
    with pytest.raises(RequestError, match="study other has no checkpoint c; it has a"):
        _plan(tmp_path, {"b": {"init": "study:other/c"}})
    plans = _plan(tmp_path, {"b": {"init": "study:other/a"}, "c": {"init": "study:other/a", **_SIMCLR, "seeds": 2}})
    for plan in plans.values():
        assert plan.spec.backbone == "resnet18"
        assert [p.init.root for p in plan.pretrainings if p.init] == [a.folder.root for a in made]
    with pytest.raises(RequestError, match="3 repeats cannot use 2 pretrainings"):
        _plan(tmp_path, {"b": {"init": "study:other/a"}}, tasks=["demo-tissue"], transfer={"repeats": 3})


def test_a_published_model_needs_no_backbone_and_its_card_is_in_the_fingerprint(tmp_path: Path) -> None:
    def of(**keys: object) -> CheckpointPlan:
        return _plan(tmp_path, {"a": {"init": "published:lunit-bt", **keys}})["a"]

    plan = of()
    assert plan.spec.backbone == "resnet50"
    prints = [of(**keys).artefacts[0].fingerprint for keys in ({}, {"seen": ["TCGA"]}, {"mean": [0.5, 0.5, 0.5]})]
    assert len(set(prints)) == 3
    assert of(seen=[], allow_missing=[]).artefacts[0].fingerprint == prints[0]
    file = tmp_path / "bt.torch"
    file.write_bytes(b"\x80\x02weights")
    named = _plan(tmp_path, {"a": {"init": "bt.torch", "card": "lunit-bt"}})["a"]
    assert (named.spec.backbone, named.spec.init) == ("resnet50", file.as_posix())
    plain = _plan(tmp_path, {"a": {"init": "bt.torch", "backbone": "resnet50"}})["a"]
    assert named.artefacts[0].fingerprint != plain.artefacts[0].fingerprint


@pytest.mark.parametrize(
    ("checkpoint", "sentence"),
    [
        (
            {"init": "published:uni"},
            r"checkpoints\.b: published model uni: .* no card of it; did you mean uni2-h",
        ),
        ({"init": "a", "model_args": {"depth": 2}}, r"model_args: init a is a checkpoint, which is taken whole"),
        ({"init": "a", "card": "uni2-h"}, r"card: init a is a checkpoint"),
        (
            {"backbone": "test_vit", "model_args": {"depth": "many"}},
            r"model_args \(depth\): timm cannot build test",
        ),
        ({"backbone": "test_vit", "model_args": {"mlp_layer": "Glu"}}, r"model_args\.mlp_layer: there is no layer Glu"),
        ({"backbone": "resnet18", "pool": "token"}, r"pool token: resnet18 is no vision transformer"),
    ],
)
def test_weights_from_outside_are_checked_before_anything_runs(tmp_path: Path, checkpoint: dict, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        _plan(tmp_path, {"a": {"backbone": "resnet18"}, "b": checkpoint})
