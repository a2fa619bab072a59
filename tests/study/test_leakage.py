"""What weights have seen of what they are tested on: the five words, the refusal and what is left out for it."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from raysweep.errors import RequestError
from raysweep.patches.outcomes import read_outcomes
from raysweep.progress import Progress
from raysweep.report.seen import COLLECTION, IMAGES, LABELS, NONE, UNKNOWN, Seen
from raysweep.storage import Storage, shipped
from raysweep.study.graph import Graph, build_graph
from raysweep.study.leakage import find_leakage, leakage_notes
from raysweep.study.load import load_study
from raysweep.study.plan import plan_rows
from raysweep.study.run import run_study
from raysweep.study.speeds import Speeds
from tests.drawn import copy_sets
from tests.report.fake_study import write_checkpoint
from tests.slides.slidemaker import tissue, write_slide

_SUPERVISED = {"backbone": "resnet10t", "method": "supervised", "patches": "slides", "batch": 16}
_SIMCLR = _SUPERVISED | {"method": "simclr"}
_LUNIT = {"init": "published:lunit-bt"}
_IMAGENET = {"backbone": "resnet10t.c3_in1k", "init": "timm"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    copy_sets(folder)
    return folder


class Study:
    """Slides whose files are never opened, and one task: drawn tissue with an official split by patient."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder, self.data = folder, data
        with open(data / "demo-tissue/labels.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        self.test = sorted({row["patient"] for row in rows if row["split"] == "test"})
        self.train = sorted({row["patient"] for row in rows if row["split"] == "train"})
        self.image = next(data / "demo-tissue" / row["image"] for row in rows if row["split"] == "test")
        self.slides([("one", "P1"), ("two", "P2")])

    def slides(self, rows: list[tuple[str, str]]) -> None:
        """Names and patients; the files are made where they are not there."""
        for name, _ in rows:
            if not (path := self.folder / f"{name}.svs").exists():
                path.write_bytes(name.encode())
        lines = [f"{name},{name}.svs,{patient},{'xy'[i % 2]}" for i, (name, patient) in enumerate(rows)]
        (self.folder / "slides.csv").write_text("\n".join(["slide,path,patient,label", *lines]) + "\n")

    def card(self, name: str = "demo-tissue", **keys: Any) -> dict:
        return yaml.safe_load((shipped("datasets") / "demo-tissue.yaml").read_text()) | {"name": name} | keys

    def write(self, tested: dict | None = None, patches: dict | None = None, **keys: Any) -> Path:
        """A study of the checkpoint `random` and those given as `checkpoints`."""
        checkpoints = {"random": {"backbone": "resnet10t"}, **keys.pop("checkpoints", {})}
        study = {
            "name": "leaks",
            "storage": str(self.folder / "runs"),
            "data": str(self.data),
            "patches": {"slides": {"slides": "slides.csv", "um": 64, "px": 32, **(patches or {})}},
            "tasks": [tested or self.card()],
            "transfer": {"repeats": 1, "fractions": [1.0]},
            "checkpoints": checkpoints,
            **keys,
        }
        path = self.folder / "leaks.yaml"
        path.write_text(yaml.safe_dump(study, sort_keys=False))
        return path

    def graph(self, *args: Any, **keys: Any) -> Graph:
        return build_graph(load_study(self.write(*args, **keys)))

    def word(self, checkpoint: dict, tested: dict | None = None, **keys: Any) -> Seen:
        found = self.graph(tested, checkpoints={"c": checkpoint}, **keys).leakage
        assert found["random", "demo-tissue"] == Seen("demo-tissue", NONE)
        return found["c", "demo-tissue"]


@pytest.fixture
def study(tmp_path: Path, data: Path) -> Study:
    return Study(tmp_path, data)


def test_labels_of_test_patients_are_refused_unless_allowed(study: Study) -> None:
    leaking, other = study.test[:2]
    study.slides([("one", "P1"), ("two", leaking.lower()), (other, "P3"), ("four", study.train[0])])
    with pytest.raises(RequestError) as caught:
        study.word(_SUPERVISED)
    assert str(caught.value) == (
        f"checkpoints.c: it is taught with labels of what task demo-tissue tests (2 of {len(study.test)} test patients "
        f"share the name of one in slides: {leaking}, {other}); leave them out (exclude: tasks on a patch set, "
        "leave_out on the checkpoint), or list c/demo-tissue under allow_leakage, and every number will be marked"
    )
    seen = study.word(_SUPERVISED, allow_leakage=["c/demo-tissue"])
    assert (seen.word, seen.mark) == (LABELS, "‡")
    study.slides([("one", "P1"), ("four", study.train[0])])
    assert study.word(_SUPERVISED) == Seen("demo-tissue", NONE), "the training part of a task is no secret"
    with pytest.raises(RequestError, match=r"allow_leakage: c/demo-tisue is no .* did you mean c/demo-tissue"):
        study.word(_SUPERVISED, allow_leakage=["c/demo-tisue"])


def test_images_of_test_patients_are_marked(study: Study) -> None:
    study.slides([("one", study.test[0])])
    seen = study.word(_SIMCLR)
    assert (seen.word, seen.mark) == (IMAGES, "†")
    assert seen.reason == f"1 of {len(study.test)} test patients shares the name of one in slides: {study.test[0]}"
    assert study.word(_SIMCLR, study.card(collection="drawn"), patches={"collection": "own"}).word == NONE
    assert study.word(_SIMCLR, study.card(unit="image", layout={"type": "csv", "file": "labels.csv", "label": "label",
                                                                "split": "split"})).word == NONE  # fmt: skip
    study.slides([("one", study.test[0]), ("two", "P2")])
    held_out = {"split": {"test": 0.5}}
    words = {study.word(_SIMCLR, patches=held_out, seed=seed).word for seed in range(8)}
    assert words == {IMAGES, NONE}, "a slide that the patch set holds out is not seen"


def test_the_same_bytes_are_the_same_image(study: Study) -> None:
    shutil.copy(study.image, study.folder / "copied.svs")
    study.slides([("copied", ""), ("two", "")])
    seen = study.word(_SIMCLR)
    assert (seen.word, seen.reason.split(" test ")[0]) == (IMAGES, f"1 of {len(study.test)}")


def test_a_set_of_the_same_images_under_another_card(study: Study) -> None:
    card = study.card("other", splits={"type": "holdout", "test": 0.5})
    card["layout"].pop("split")
    (study.folder / "other.yaml").write_text(yaml.safe_dump(card))
    pool = {"patches": "other"}
    with pytest.raises(RequestError, match=f"{len(study.test)} of {len(study.test)} test patients are in other: "):
        study.word(_SUPERVISED | pool)
    assert study.word(_SIMCLR | pool).word == IMAGES
    (study.folder / "part.yaml").write_text(yaml.safe_dump(study.card("part")))
    assert study.word(_SUPERVISED | {"patches": "part"}).word == NONE, "its official split hides the same images"


def test_members_of_a_family_are_judged_by_their_own_fold(study: Study) -> None:
    card = study.card(splits={"type": "folds", "k": 3})
    card["layout"].pop("split")
    for keys in ({"join": "target", "patches": "demo-glands"}, {"leave_out": "each"}):
        pool = {**_SIMCLR, "patches": ["demo-tissue", "demo-glands"], **keys}
        graph = study.graph(card, checkpoints={"c": pool})
        assert graph.leakage["c", "demo-tissue"].word == NONE
    graph = study.graph(card, checkpoints={"c": {**_SUPERVISED, "patches": ["slides"], "join": "target"}})
    assert len(graph.checkpoints["c"].pretrainings) == 3
    assert graph.leakage["c", "demo-tissue"].word == NONE, "labels of the folds that it is not tested on"
    study.slides([("one", study.test[0]), ("two", "P2")])
    with pytest.raises(RequestError, match=r"1 of .* test patients shares the name of one in slides"):
        study.graph(card, checkpoints={"c": {**_SUPERVISED, "patches": ["slides"], "join": "target"}})


def test_the_whole_chain_counts(study: Study) -> None:
    study.slides([("one", study.test[0]), ("two", "P2")])
    parents = {"first": _SUPERVISED, "as_it_is": {"init": "first"}}
    child = {**_SIMCLR, "init": "as_it_is", "backbone": None, "patches": "demo-glands"}
    allow = ["first/demo-tissue", "as_it_is/demo-tissue"]
    with pytest.raises(RequestError, match=r"checkpoints\.c: it is taught with labels"):
        study.graph(checkpoints={**parents, "c": child}, allow_leakage=allow)
    found = study.graph(checkpoints={"first": _SIMCLR, "as_it_is": {"init": "first"}, "c": child}).leakage
    assert {found[name, "demo-tissue"].word for name in ("first", "as_it_is", "c")} == {IMAGES}


@pytest.mark.parametrize(
    ("checkpoint", "collection", "word"),
    [
        (_LUNIT, "TCGA", COLLECTION),
        (_LUNIT, ["x", "TCGA-BRCA"], COLLECTION),
        (_LUNIT, "another", NONE),
        (_LUNIT, [], UNKNOWN),
        (_IMAGENET, "TCGA", NONE),
        (_IMAGENET, [], NONE),
        ({**_IMAGENET, "seen": ["tcga"]}, "TCGA", COLLECTION),
        ({**_IMAGENET, "seen": ["demo-tissue"]}, [], IMAGES),
        ({**_IMAGENET, "backbone": "vit_base_patch16_clip_224.laion2b_ft_in1k"}, "TCGA", UNKNOWN),
        ({**_SIMCLR, "init": "start", "backbone": None}, "TCGA", COLLECTION),
    ],
)
def test_what_is_declared_is_compared_by_collection(study: Study, checkpoint: dict, collection: Any, word: str) -> None:
    seen = study.word(checkpoint, study.card(collection=collection)) if "start" not in checkpoint.values() else None
    if seen is None:  # what its init declares goes with it
        graph = study.graph(study.card(collection=collection), checkpoints={"start": _LUNIT, "c": checkpoint})
        seen = graph.leakage["c", "demo-tissue"]
    assert seen.word == word
    assert bool(seen.reason) == (word != NONE)


def test_images_with_barcodes_are_of_tcga(study: Study) -> None:
    study.data = shutil.copytree(study.data, study.folder / "data")
    table = study.data / "demo-tissue/labels.csv"
    text = table.read_text()
    for number, patient in enumerate([*study.test, *study.train]):
        text = text.replace(f",{patient},", f",TCGA-AA-{number:04d},")
    table.write_text(text)
    seen = study.word(_LUNIT)
    assert (seen.word, seen.mark) == (COLLECTION, "§")
    study.slides([(f"TCGA-AA-{len(study.test):04d}-01A-01-TS1", ""), ("TCGA-ZZ-0000-01Z", "")])
    assert study.word(_SIMCLR).word == NONE, "another patient, and all of them are known"
    study.slides([("TCGA-ZZ-0000-01Z", ""), ("two", "")])
    assert study.word(_SIMCLR).word == COLLECTION, "nobody knows of whom one of the slides is"
    study.slides([("tcga-aa-0000-01a-01-ts1", "mine"), ("two", "")])
    assert study.word(_SIMCLR).word == IMAGES


def test_a_file_that_says_nothing_is_unknown_once(study: Study) -> None:
    (study.folder / "w.safetensors").write_bytes(b"\x80\x02weights")
    file = {"backbone": "resnet10t", "init": "w.safetensors"}
    seen = study.word(file)
    assert seen == Seen("demo-tissue", UNKNOWN, "w.safetensors does not say what it has seen; name it under `seen`")
    assert not seen.mark
    assert study.word({**file, "seen": ["ImageNet"]}).word == NONE
    both = {("c", "a"): seen, ("c", "b"): seen, ("d", "a"): Seen("a", NONE), ("d", "b"): Seen("b", IMAGES, "x")}
    assert leakage_notes(both) == [
        "d on b: images seen unlabelled (x)",
        f"c: unknown what it has seen ({seen.reason})",
        "none found of test units among what was seen: 1 of 4 pairs of checkpoint and test set",
    ]


def test_a_checkpoint_of_another_study_tells_by_its_own_list(study: Study) -> None:
    folder = Storage.open(study.folder / "runs/other/checkpoints/old/0a1b2c3d")
    write_checkpoint(folder, backbone="resnet10t", method="supervised", sources=["mine", "s1", "TCGA"])
    folder.write_json({"fingerprint": "0", "config": {"backbone": "resnet10t"}}, "manifest.json")
    Storage(folder.fs, folder.root.rpartition("/")[0]).write_bytes(b"0a1b2c3d\n", "current")
    start = {"init": "study:other/old"}
    seen = study.word(start)
    assert (seen.word, seen.reason) == (UNKNOWN, "there is no sources.parquet beside the weights that it starts from")
    assert study.word(start, study.card(collection="TCGA")).word == COLLECTION
    rows = {"source": ["mine"], "id": ["s1"], "unit": [study.test[0]], "hash": pa.array([None], pa.string())}
    folder.write_table(pa.table(rows), "sources.parquet")
    with pytest.raises(RequestError, match=r"is taught with labels .*test patients shares the name of one in mine"):
        study.word(start)
    folder.write_table(pa.table(rows | {"labels": [False]}), "sources.parquet")
    assert study.word(start).word == IMAGES
    folder.write_table(pa.table(rows | {"unit": ["P7"], "labels": [True]}), "sources.parquet")
    assert study.word(start, study.card(collection="x")).word == NONE


def test_after_training_the_list_beside_the_weights_counts(study: Study) -> None:
    graph = study.graph(checkpoints={"c": _SIMCLR})
    parts = graph.file, graph.checkpoints, graph.patch_sets, graph.sources, graph.tasks
    [artefact] = graph.checkpoints["c"].artefacts
    rows = {"source": ["slides"], "id": ["one"], "unit": [study.test[0]], "hash": ["1-a"], "labels": [False]}
    artefact.folder.write_table(pa.table(rows), "sources.parquet")
    assert find_leakage(*parts, recorded=True)["c", "demo-tissue"].word == NONE, "it is not complete"
    artefact.commit(config={}, counts={}, timings={})
    assert find_leakage(*parts, recorded=True)["c", "demo-tissue"].word == IMAGES
    assert find_leakage(*parts)["c", "demo-tissue"].word == NONE


def test_plan_tells_it(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Speeds, "_network", lambda *_: None)
    study.slides([("one", study.test[0]), ("two", "P2")])
    _, _, notes = plan_rows(load_study(study.write(checkpoints={"c": _SIMCLR})))
    assert (
        f"c on demo-tissue: images seen unlabelled (1 of {len(study.test)} test patients shares the name of one "
        "in slides: " in notes[-2]
    )
    assert notes[-1].endswith("1 of 2 pairs of checkpoint and test set")
    _, rows, _ = plan_rows(load_study(study.write(checkpoints={"c": _SIMCLR}, patches={"exclude": "tasks"})))
    assert rows[0][3].startswith("1 slides (1 more are left out for the tasks)")


def test_slides_of_the_tasks_patients_can_be_left_out(study: Study) -> None:
    shutil.copy(study.image, study.folder / "copied.svs")
    everyone = [("one", study.test[0]), ("two", study.train[0]), ("copied", "P3"), ("more", "P3"), ("own", "P4")]
    study.slides(everyone)
    exclude = {"patches": {"exclude": "tasks"}, "checkpoints": {"c": _SIMCLR}}
    graph = study.graph(**exclude)
    left = graph.patch_sets["slides"]
    assert [slide.name for slide in left.slides] == ["own"]
    assert {slide.name for slide, _ in left.excluded} == {"one", "two", "copied", "more"}
    assert {reason for _, reason in left.excluded} == {"patient of task demo-tissue"}
    assert graph.leakage["c", "demo-tissue"].word == NONE
    plain = study.graph().patch_sets["slides"].artefact.fingerprint
    assert left.artefact.fingerprint != plain
    study.slides([("own", "P4"), ("other", "P5")])
    inputs = [study.graph(**keys).patch_sets["slides"].artefact.inputs for keys in (exclude, {})]
    assert inputs[0] == inputs[1], "where nobody is left out it is the set without the key"
    study.slides(everyone[:2])
    with pytest.raises(RequestError, match=r"patches\.slides: exclude: every slide is left out, such as one \(patient"):
        study.graph(**exclude)


@pytest.mark.usefixtures("ray_session")
def test_what_is_left_out_is_told_by_the_slide_table(study: Study) -> None:
    for seed, name in enumerate(("one", "own")):
        (study.folder / f"{name}.svs").unlink(missing_ok=True)
        write_slide(study.folder / f"{name}.svs", tissue(160, 160, seed), compression="jpeg")
    study.slides([("one", study.test[0]), ("own", "P4")])
    path = study.write(patches={"exclude": "tasks", "um": 32})
    assert run_study(load_study(path), stages=["tile"], progress=Progress(quiet=True)).failures == []
    artefact = build_graph(load_study(path)).patch_sets["slides"].artefact
    told = {s.slide: (s.status, s.reason, s.split, s.n_patches) for s in read_outcomes(artefact.folder)}
    assert told == {"one": ("skipped", "patient of task demo-tissue", None, 0), "own": ("done", None, "train", 4)}
    counts = artefact.manifest()["counts"]
    assert (counts["slides"], counts["done"], counts["skipped"]) == (2, 1, 1)
