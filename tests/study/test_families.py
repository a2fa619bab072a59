"""What each member of a family is pretrained on: never what it is tested on."""

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysweep.errors import RequestError
from raysweep.pretrain.spec import CheckpointSpec
from raysweep.storage import Artefact, Storage
from raysweep.study.checkpoints import CheckpointPlan, plan_checkpoints
from raysweep.study.families import pools_of
from raysweep.study.model import Study
from raysweep.study.sources import SourcePlan
from raysweep.study.tasks import TaskPlan
from raysweep.tasks.card import Card
from raysweep.tasks.sample import Sample
from raysweep.tasks.source import source_inputs
from raysweep.tasks.task import Task

_TASKS = {"a": 1, "b": 2, "c": 1, "outside": 3}


def _spec(**keys: object) -> CheckpointSpec:
    return CheckpointSpec.model_validate(
        {"backbone": "resnet18", "method": "supervised", "patches": ["a", "b", "c"], **keys}
    )


def test_a_checkpoint_without_either_key_is_no_family() -> None:
    assert pools_of(_spec(), _TASKS) == {}


def test_each_leaves_alone_and_folds_share_a_member() -> None:
    pools = pools_of(_spec(leave_out="each"), _TASKS)
    assert pools["a", 0] == (("b", None), ("c", None))
    assert pools["b", 0] == pools["b", 1] == (("a", None), ("c", None))
    assert {pools["outside", fold] for fold in range(3)} == {(("a", None), ("b", None), ("c", None))}


def test_a_group_leaves_together_and_the_others_alone() -> None:
    pools = pools_of(_spec(leave_out=[["a", "b"]]), _TASKS)
    assert pools["a", 0] == pools["b", 1] == (("c", None),)
    assert pools["c", 0] == (("a", None), ("b", None))


def test_the_target_joins_with_the_train_split_of_its_fold() -> None:
    pools = pools_of(_spec(join="target"), _TASKS)
    assert pools["b", 1] == (("a", None), ("c", None), ("b", 1))
    assert pools["outside", 2] == (("a", None), ("b", None), ("c", None), ("outside", 2))
    both = pools_of(_spec(join="target", leave_out=[["a", "b"]]), _TASKS)
    assert both["b", 1] == (("c", None), ("b", 1)), "related tasks leave, the target's train split stays"


@given(st.data())
def test_nobody_sees_the_whole_of_what_it_is_tested_on(data: st.DataObject) -> None:
    names = [f"t{i}" for i in range(data.draw(st.integers(2, 6)))]
    folds = {name: data.draw(st.integers(1, 4)) for name in names}
    shuffled = data.draw(st.permutations(names))
    group = shuffled[: data.draw(st.integers(1, len(names) - 1))]
    for keys in ({"leave_out": "each"}, {"leave_out": [group]}, {"join": "target"}):
        for (task, fold), pool in pools_of(_spec(patches=names, **keys), folds).items():
            assert (task, None) not in pool
            assert {f for source, f in pool if source == task} <= {fold}
            if keys == {"leave_out": [group]} and task in group:
                assert not {source for source, _ in pool} & set(group)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"leave_out": [["a", "bb"]]}, "bb is not among the sources under patches; did you mean b"),
        ({"leave_out": [["a"], ["a", "b"]]}, "a is in two groups"),
        ({"leave_out": [["a", "b", "c"]]}, "nothing is left to pretrain on for task a"),
    ],
)
def test_a_group_that_cannot_be_is_one_sentence(keys: dict, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        pools_of(_spec(**keys), _TASKS)


def _task(name: str, k: int) -> Task:
    """Twelve images of six patients, in `k` folds; of one fold: with an official split."""
    splits = {"type": "folds", "k": k} if k > 1 else {"type": "given"}
    card = Card.model_validate(
        {"name": name, "kind": "classification", "classes": ["x", "y"], "source": "made", "licence": {"name": "CC0"},
         "root": name, "layout": {"type": "csv", "file": "x.csv"}, "unit": "patient", "splits": splits,
         "metrics": ["accuracy"]}
    )  # fmt: skip
    samples = [
        Sample(f"{i}.png", f"{i}.png", None, i % 2, f"p{i // 2}", ("train", "val", "test")[i // 4]) for i in range(12)
    ]
    return Task(card, Path("/nowhere"), samples)


def _plan(
    tmp_path: Path, checkpoint: dict, repeats: int = 2, tested: tuple[str, ...] = ("a", "b"), folds_of_a: int = 2
) -> CheckpointPlan:
    study = Study.model_validate(
        {"name": "s", "storage": str(tmp_path), "checkpoints": {"pool": checkpoint}, "tasks": list(tested),
         "transfer": {"repeats": repeats}}
    )  # fmt: skip
    home = Storage.open(tmp_path / "s")
    sources, tasks = {}, {}
    for name, k in {"a": folds_of_a, "b": 1}.items():
        task = _task(name, k)
        index = Artefact(home.at("tasks", name), task.inputs())
        artefact = Artefact(home.at("patches", name), source_inputs(task, study.seed))
        sources[name] = SourcePlan(name, task, index, artefact, name in tested)
        if name in tested:
            tasks[name] = TaskPlan(task, index, k)
    return plan_checkpoints(study, home, {}, sources, tasks, tmp_path)["pool"]


_POOL = {"backbone": "resnet18", "method": "supervised", "patches": ["a", "b"], "seeds": 2}


def test_a_plan_has_an_artefact_for_each_member_and_seed(tmp_path: Path) -> None:
    left = _plan(tmp_path, _POOL | {"leave_out": "each"})
    assert len(left.pretrainings) == 2 * 2
    assert left.of("a", 0, 0) is left.of("a", 1, 2), "equal pools are one artefact, and seeds take turns"
    assert left.of("a", 0, 0) is not left.of("a", 0, 1)
    joined = _plan(tmp_path, _POOL | {"join": "target"})
    assert len(joined.pretrainings) == 3 * 2
    assert joined.of("a", 0, 0) is not joined.of("a", 1, 0)
    whole = _plan(tmp_path, _POOL, tested=("b",))
    lefts, joins, wholes = ({a.fingerprint for a in plan.artefacts} for plan in (left, joined, whole))
    assert (len(lefts), len(joins), len(wholes)) == (4, 6, 2)
    assert not lefts & (joins | wholes)
    for_b = {joined.of("b", 0, seed).artefact.fingerprint for seed in range(2)}
    assert joins & wholes == for_b == wholes, "b has an official split, so all that may be seen of it is its train part"
    assert [p.seed for p in whole.pretrainings] == [0, 1]


def test_each_member_gets_the_folders_and_folds_of_its_sources(tmp_path: Path) -> None:
    plan = _plan(tmp_path, _POOL | {"join": "target", "patches": {"a": 2, "b": 0.5}})
    first = plan.sources_of(plan.of("a", 1, 0))
    assert [(s.name, s.weight, s.fold) for s in first] == [("b", 0.5, None), ("a", 2.0, 1)]
    for source in first:
        assert source.folder.root.startswith(f"{tmp_path}/s/patches/{source.name}/")
        assert source.task
        assert source.task.root.startswith(f"{tmp_path}/s/tasks/{source.name}/")
    assert pickle.loads(pickle.dumps(first)) == first
    assert (plan.patch_sets, plan.labelled_sets) == ([], ["b", "a"])


def test_what_is_seen_decides_and_not_how_it_is_tested(tmp_path: Path) -> None:

    def prints(folds_of_a: int = 2, **keys: object) -> list[str]:
        plan = _plan(tmp_path, _POOL | keys, tested=("b",), folds_of_a=folds_of_a)
        return [a.fingerprint for a in plan.artefacts]

    plain = prints()
    assert not set(prints(patches={"a": 1, "b": 1.0})) & set(plain), "by default every patch counts alike"
    assert not set(prints(patches={"a": 1, "b": 2})) & set(plain)
    assert not set(prints(patches=["b"])) & set(plain)
    assert prints(folds_of_a=3) == plain, "no fold is used, so the division of the set is no part of it"


def test_nobody_may_see_its_test_images(tmp_path: Path) -> None:
    with pytest.raises(
        RequestError, match=r"checkpoints\.pool: patches: a is a task .* leave_out: each or join: target"
    ):
        _plan(tmp_path, _POOL)
    with pytest.raises(RequestError, match=r"patches: a is a task of this study without an official split"):
        _plan(tmp_path, _POOL | {"patches": "a"})
    alone = _plan(tmp_path, _POOL | {"patches": "b"})  # it has an official split: its train part is all that is seen
    [source] = alone.sources_of(alone.pretrainings[0])
    assert (source.name, source.fold) == ("b", None)


def test_each_member_is_probed_with_the_train_split_of_the_fold_that_it_is_for(tmp_path: Path) -> None:
    probe = {"probe": {"task": "a"}}
    joined = _plan(tmp_path, _POOL | probe | {"join": "target"})
    assert [joined.fold_of(joined.of("a", fold, seed)) for fold in (0, 1) for seed in (0, 1)] == [0, 0, 1, 1]
    assert joined.fold_of(joined.of("b", 0, 0)) == 0, "it is for another task"
    assert joined.probed is not None
    assert joined.probed.root.startswith(f"{tmp_path}/s/tasks/a/")
    left = _plan(tmp_path, _POOL | probe | {"leave_out": "each"})
    assert [left.fold_of(made) for made in left.pretrainings] == [0] * 4
    plain = _plan(tmp_path, _POOL | {"join": "target"})
    assert plain.probed is None
    assert [a.fingerprint for a in plain.artefacts] == [a.fingerprint for a in joined.artefacts], "it decides nothing"


@pytest.mark.parametrize(
    ("task", "tested", "sentence"),
    [
        ("c", ("a", "b"), "probe.task: c is not a classification task of this study; choose one of a, b"),
        ("a", ("b",), "probe.task: a is not a classification task of this study; choose one of b"),
    ],
)
def test_a_probe_needs_a_task_of_the_study(tmp_path: Path, task: str, tested: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(RequestError, match=rf"^checkpoints\.pool: {sentence}$"):
        _plan(tmp_path, _POOL | {"patches": "b", "probe": {"task": task}}, tested=tested)
