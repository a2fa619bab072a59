import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from raysweep.errors import RequestError, WorkError
from raysweep.storage import Storage
from raysweep.tasks.cards import load_card
from raysweep.tasks.sample import Sample
from raysweep.tasks.splits import folds
from raysweep.tasks.task import Task
from raysweep.transfer import frozen_run
from raysweep.transfer.cross_validation import divide
from raysweep.transfer.features import open_features, write_features
from raysweep.transfer.job import Job, Run
from raysweep.transfer.metrics import score
from raysweep.transfer.protocol import get_protocol
from raysweep.transfer.protocols.svm import Svm
from raysweep.transfer.schema import CLASSIFICATION_PREDICTIONS
from tests.transfer.tiny import make_job

FROZEN = ("linear", "svm", "knn")
PATHS = {"linear": {"C": {"values": [1e-2, 1e-1, 1.0], "default": 1e-2}},
         "svm": {"C": {"values": [1e-4, 1e-2, 1.0], "default": 1e-2}},
         "knn": {"k": {"values": [1, 5, 20], "default": 5}}}  # fmt: skip
N, TEST = 60, [55, 51, 53]


def features_like(labels: np.ndarray, shift: float = 0.5) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (5 + 30 * (rng.normal(size=(len(labels), 12)) + shift * (2 * labels[:, None] - 1))).astype(np.float32)


@pytest.fixture
def job(saved_task: Callable[..., Storage], tmp_path: Path) -> Job:
    """Two classes of fifteen units each, two images a unit; everything but the last ten images is the draw."""
    folder = saved_task("classification", [(1, 1)] * 2)
    task = Task.load(folder, str(tmp_path / "data"))
    labels = np.arange(N) // 2 % 2
    samples = [Sample(str(i), "none.png", None, int(labels[i]), f"unit{i // 2:02d}") for i in range(N)]
    Task(task.card, task.root, samples).save(folder)
    features = Storage.open(tmp_path / "features")
    write_features(features, [s.id for s in samples], features_like(labels))
    return make_job(features, folder, train=list(range(50)), val=[], params={}, features=features)


def start(job: Job, protocol: str, **changes) -> Run:
    return get_protocol(protocol).start(replace(job, **({"params": PATHS[protocol]} | changes)))


def walked(run: Run) -> list:
    found = []
    while (evaluation := run.advance()) is not None:
        found.append(evaluation)
    return found


def resaved(job: Job, **keys) -> None:
    """The job's task with other keys of its card, not remembered."""
    task = Task.load(job.task, job.data)
    Task(task.card.model_copy(update=keys), task.root, task.samples).save(job.task)
    frozen_run._kept.clear()


@pytest.mark.parametrize("protocol", FROZEN)
def test_the_path_is_scored_on_held_out_units_and_the_best_setting_predicts(job: Job, protocol: str) -> None:
    run = start(job, protocol)
    evaluations = walked(run)
    key = get_protocol(protocol).setting  # type: ignore[attr-defined]
    values = [e.setting[key] for e in evaluations]
    assert sorted(values) == PATHS[protocol][key]["values"]
    assert (values == sorted(values)) == (protocol != "knn"), "the strongest regularisation first"
    assert [e.step for e in evaluations] == [1, 2, 3]
    choice = run.chosen()
    assert choice is not None
    assert choice.by == "cross-validation by patient, 5 folds"
    best = max(e.val_metric for e in evaluations)
    chosen = evaluations[values.index(choice.params[key])]
    assert chosen.val_metric == best > 0.7
    task, features = Task.load(job.task, job.data), features_like(np.arange(N) // 2 % 2)
    labels = np.array([s.label for s in task.samples])[:50]
    units = np.arange(50) // 2
    scores = np.zeros((50, 2))
    for fit, held in divide(labels, units, unit="patient", seed=job.seed).parts:
        scorer = get_protocol(protocol).fit(  # type: ignore[attr-defined]
            features[fit], labels[fit], n_classes=2, values=values, seed=job.seed
        )
        scores[held] = scorer(features[held])[values.index(choice.params[key])]
    assert chosen.val_metric == pytest.approx(balanced_accuracy_score(labels, scores.argmax(1)))
    right = np.maximum(scores[np.arange(50), labels], np.finfo(np.float32).tiny)
    assert chosen.val_loss == pytest.approx(-np.log(right).mean(), rel=1e-4)
    table = run.predict(TEST)
    assert table.schema.equals(CLASSIFICATION_PREDICTIONS)
    assert table["sample"].to_pylist() == [str(i) for i in TEST]
    assert table["label"].to_pylist() == [i // 2 % 2 for i in TEST]
    alone = get_protocol(
        protocol
    ).fit(  # type: ignore[attr-defined]
        features[:50], labels, n_classes=2, values=[choice.params[key]], seed=job.seed
    )(features[TEST])[0]
    np.testing.assert_array_equal(np.stack(table["scores"].to_pylist()), alone)
    assert start(job, protocol, fold=2).predict(TEST)["fold"].to_pylist() == [2] * 3


@pytest.mark.parametrize("protocol", FROZEN)
def test_the_same_bits_each_time_and_another_seed_divides_otherwise(job: Job, protocol: str) -> None:
    one, two = start(job, protocol), start(job, protocol)
    assert [(e.val_loss, e.val_metric) for e in walked(one)] == [(e.val_loss, e.val_metric) for e in walked(two)]
    assert one.predict(TEST).equals(two.predict(TEST))
    assert start(job, protocol).predict(TEST).equals(one.predict(TEST)), "without advancing first"
    other = walked(start(job, protocol, seed=job.seed + 1))
    assert [e.val_loss for e in other] != [e.val_loss for e in walked(start(job, protocol))]


def test_equal_metrics_go_to_the_lower_loss_of_probabilities_else_to_the_stronger_regularisation(job: Job) -> None:
    labels = np.arange(N) // 2 % 2
    assert job.features is not None
    write_features(job.features, [str(i) for i in range(N)], features_like(labels, shift=3))  # nothing is wrong
    linear, svm, knn = (start(job, name) for name in FROZEN)
    assert {e.val_metric for e in (*walked(linear), *walked(svm), *walked(knn))} == {1.0}
    assert [run.chosen().params for run in (linear, svm, knn)] == [{"C": 1.0}, {"C": 1e-4}, {"k": 20}]  # type: ignore[union-attr]
    assert [run.chosen().edge for run in (linear, svm, knn)] == ["", "", ""], "the neighbour is as good"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("protocol", "values", "chosen", "edge"),
    [
        ("linear", [1e-9, 1e-3], 1e-3, "C"),  # a fit that strong predicts the larger class
        ("linear", [1e-9, 1e9, 1e10], 1e9, ""),  # as good as its neighbour
        ("linear", [1e-3], 1e-3, ""),
        ("knn", [49, 9], 49, "k"),
        ("knn", [49, 1], 1, ""),  # there is no k below 1
    ],
)
def test_a_best_value_at_an_end_of_the_path_is_flagged(
    job: Job, protocol: str, values: list[float], chosen: float, edge: str
) -> None:
    key = get_protocol(protocol).setting  # type: ignore[attr-defined]
    run = start(job, protocol, params={key: {"values": values, "default": values[0]}})
    choice = run.chosen()
    assert choice is not None
    assert (choice.params, choice.edge) == ({key: chosen}, edge)


def test_what_cannot_be_cross_validated_takes_the_default_and_says_so(job: Job) -> None:
    run = start(job, "linear", train=[0, 1, 2])
    assert walked(run) == []
    choice = run.chosen()
    assert choice is not None
    assert (choice.params, choice.edge) == ({"C": 1e-2}, "")
    assert choice.by == "default: a class has one image, which cannot be cross-validated"
    assert run.predict(TEST).num_rows == 3
    alone = start(job, "linear", train=[0, 1, 2, 3])
    assert len(walked(alone)) == 3
    assert alone.chosen().by == "cross-validation by image, 2 folds; a class is in one patient alone"  # type: ignore[union-attr]


def test_auroc_is_the_mean_over_the_parts(job: Job) -> None:
    resaved(job, metrics=["auroc"])
    run = start(job, "svm")
    chosen = max(walked(run), key=lambda e: e.val_metric)
    labels, features = np.arange(50) // 2 % 2, features_like(np.arange(N) // 2 % 2)
    values = []
    for fit, held in divide(labels, np.arange(50) // 2, unit="patient", seed=job.seed).parts:
        model = make_pipeline(StandardScaler(), LinearSVC(C=chosen.setting["C"], random_state=job.seed))  # type: ignore[index]
        decision = model.fit(features[fit], labels[fit]).decision_function(features[held])
        above = decision[labels[held] == 1][:, None] > decision[labels[held] == 0]
        values.append(above.mean())
    assert chosen.val_metric == pytest.approx(np.mean(values), abs=1e-6)


def test_a_class_absent_from_train_has_probability_zero(job: Job) -> None:
    task = Task.load(job.task, job.data)
    Task(task.card.model_copy(update={"classes": ["never", "dark", "bright"]}), task.root,
         [replace(s, label=(s.label or 0) + 1) for s in task.samples]).save(job.task)  # fmt: skip
    for protocol in FROZEN:
        rows = np.stack(start(job, protocol).predict(TEST)["scores"].to_pylist())
        assert rows.shape == (3, 3)
        assert (rows[:, 0] == 0).all()
        np.testing.assert_allclose(rows.sum(1), 1, rtol=1e-6)


def test_what_it_cannot_do_is_one_sentence(job: Job) -> None:
    with pytest.raises(WorkError, match="needs features"):
        start(job, "linear", features=None, val=[59])
    with pytest.raises(RequestError, match="training samples are all of one class"):
        start(job, "svm", train=[0, 1, 4])
    task = Task.load(job.task, job.data)
    Task(task.card, task.root, task.samples[::-1]).save(job.task)
    frozen_run._kept.clear()
    with pytest.raises(WorkError, match="features are of other samples than task tiny"):
        start(job, "linear")


def test_an_actor_reads_features_once_and_keeps_few(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def counted(folder: Storage) -> tuple:
        opened.append(folder)
        return open_features(folder)

    monkeypatch.setattr(frozen_run, "open_features", counted)
    frozen_run._kept.clear()
    for protocol in FROZEN * 2:
        start(job, protocol)
    assert len(opened) == 1
    assert len(frozen_run._kept) <= frozen_run._KEPT


@pytest.fixture(scope="module")
def glas(test_data: Path) -> tuple[Task, np.ndarray]:
    """A third of GlaS grade and 24 plain features of each image: quantiles of its colours."""
    card, root = load_card("glas-grade", []), test_data / "glas"
    with open(root / "manifest.csv", newline="") as file:
        rows_of = list(csv.DictReader(file))[::3]
    task = Task(card, root, [Sample(row["name"], f"images/{row['name']}.png", None, card.classes.index(row["grade"]),
                                    row["patient_id"]) for row in rows_of])  # fmt: skip
    rows = []
    for sample in task.samples:
        with Image.open(task.root / sample.image) as image:
            pixels = np.asarray(image.reduce(8), np.float32)
        rows.append(np.quantile(pixels.reshape(-1, 3), np.linspace(0.05, 0.95, 8), axis=0).ravel())
    return task, np.array(rows, np.float32)


def test_svm_chooses_as_scikit_learns_grid_search_on_real_patients(
    glas: tuple[Task, np.ndarray], test_data: Path, tmp_path: Path
) -> None:
    task, features = glas
    saved, folder = Storage.open(tmp_path / "task"), Storage.open(tmp_path / "features")
    task.save(saved)
    write_features(folder, [s.id for s in task.samples], features)
    fold = folds(task, seed=0)[0]
    grid = [10.0**e for e in range(-10, 1)]
    job = Job(checkpoint=folder, task=saved, data=str(test_data), fold=0, train=fold.train, val=[],
              params={"C": {"values": grid, "default": 0.01}}, steps=1, evaluations=1, batch=1, select="val_metric",
              seed=5, features=folder)  # fmt: skip
    run = Svm().start(job)
    evaluations = walked(run)
    labels = np.array([s.label for s in task.samples])
    units = np.array([s.unit for s in task.samples])
    parts = divide(labels[fold.train], units[fold.train], unit="patient", seed=5).parts
    for fit, held in parts:
        assert not set(units[fold.train][fit]) & set(units[fold.train][held])

    def pooled(estimator, x, y):  # GridSearchCV averages over parts: what is averaged is the part's share of right ones
        return float((estimator.predict(x) == y).sum()) * len(parts) / len(fold.train)

    pipeline = make_pipeline(StandardScaler(), LinearSVC(random_state=5))
    search = GridSearchCV(pipeline, {"linearsvc__C": grid}, cv=parts, scoring=pooled)
    search.fit(features[fold.train], labels[fold.train])
    scores = np.zeros((len(grid), len(fold.train), 2), np.float32)
    for fit, held in parts:
        scores[:, held] = Svm().fit(features[fold.train][fit], labels[fold.train][fit], n_classes=2, values=grid,
                                    seed=5)(features[fold.train][held])  # fmt: skip
    accuracy = (scores.argmax(2) == labels[fold.train]).mean(1)
    np.testing.assert_allclose(accuracy, search.cv_results_["mean_test_score"], atol=1e-9)
    balanced = [balanced_accuracy_score(labels[fold.train], s.argmax(1)) for s in scores]
    np.testing.assert_allclose([e.val_metric for e in evaluations], balanced, atol=1e-9)
    table = run.predict(fold.test)
    chosen = make_pipeline(StandardScaler(), LinearSVC(C=run.chosen().params["C"], random_state=5))  # type: ignore[union-attr]
    right = chosen.fit(features[fold.train], labels[fold.train]).score(features[fold.test], labels[fold.test])
    assert score(table, "accuracy", "classification") == pytest.approx(right)
    assert right > 0.5
