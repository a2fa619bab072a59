from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss
from sklearn.preprocessing import StandardScaler

from raysweep.errors import RequestError, WorkError
from raysweep.storage import Storage
from raysweep.tasks.task import Task
from raysweep.transfer.job import Job, Run
from raysweep.transfer.protocol import get_protocol
from raysweep.transfer.schema import CLASSIFICATION_PREDICTIONS
from tests.transfer.tiny import make_job

TRAIN, VAL, TEST = list(range(20)), list(range(20, 30)), [35, 31, 33]


@pytest.fixture
def features() -> np.ndarray:
    rng = np.random.default_rng(0)
    shift = np.where(np.arange(40) % 2, 0.8, -0.8)[:, None]
    return (100 + 30 * (rng.normal(size=(40, 12)) + shift)).astype(np.float32)


@pytest.fixture
def job(saved_task: Callable[..., Storage], features: np.ndarray, tmp_path: Path) -> Job:
    task, folder = saved_task("classification", [(1, 1)] * 40), Storage.open(tmp_path / "features")
    column = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1])
    folder.write_table(pa.table({"sample": [str(i) for i in range(40)], "features": column}), "features.parquet")
    return make_job(folder, task, train=TRAIN, val=VAL, params={"C": 0.1}, features=folder)


def changed(job: Job, **changes) -> Job:
    return Job(**{**vars(job), **changes})


def start(job: Job) -> Run:
    return get_protocol("linear").start(job)


def test_it_is_scikit_learns_fit_on_standardised_features(job: Job, features: np.ndarray) -> None:
    run = start(job)
    evaluation = run.advance()
    assert evaluation is not None
    assert run.advance() is None
    x, y = features.astype(float), np.arange(40) % 2
    scaler = StandardScaler().fit(x[TRAIN])
    model = LogisticRegression(C=0.1).fit(scaler.transform(x[TRAIN]), y[TRAIN])
    probabilities = model.predict_proba(scaler.transform(x))
    assert evaluation.step == 1
    assert evaluation.train_loss == pytest.approx(log_loss(y[TRAIN], probabilities[TRAIN]))
    assert evaluation.val_loss == pytest.approx(log_loss(y[VAL], probabilities[VAL]))
    expected = balanced_accuracy_score(y[VAL], probabilities[VAL].argmax(1))
    assert evaluation.val_metric == pytest.approx(expected)
    table = run.predict(TEST)
    assert table.schema.equals(CLASSIFICATION_PREDICTIONS)
    assert table["sample"].to_pylist() == [str(i) for i in TEST]
    assert table["label"].to_pylist() == [i % 2 for i in TEST]
    assert table["fold"].to_pylist() == [0] * 3
    assert start(changed(job, fold=2)).predict(TEST)["fold"].to_pylist() == [2] * 3
    np.testing.assert_allclose(np.stack(table["scores"].to_pylist()), probabilities[TEST], rtol=1e-5)


def test_the_same_bits_each_time_and_another_c_another_fit(job: Job) -> None:
    one, two = start(job), start(job)
    assert one.advance() == two.advance()
    assert one.predict(TEST).equals(two.predict(TEST))
    assert start(job).predict(TEST).equals(one.predict(TEST))  # without advancing first
    assert not start(changed(job, params={"C": 10.0})).predict(TEST).equals(one.predict(TEST))


def test_a_class_absent_from_train_has_probability_zero(job: Job) -> None:
    task = Task.load(job.task, job.data)
    Task(task.card.model_copy(update={"classes": ["never", "dark", "bright"]}), task.root,
         [type(s)(**{**vars(s), "label": (s.label or 0) + 1}) for s in task.samples]).save(job.task)  # fmt: skip
    rows = np.stack(start(job).predict(TEST)["scores"].to_pylist())
    assert rows.shape == (3, 3)
    assert (rows[:, 0] == 0).all()
    np.testing.assert_allclose(rows.sum(1), 1, rtol=1e-6)


def test_what_it_cannot_do_is_one_sentence(job: Job) -> None:
    with pytest.raises(WorkError, match="needs features"):
        start(changed(job, features=None))
    with pytest.raises(RequestError, match="training samples are all of one class"):
        start(changed(job, train=[0, 2, 4])).advance()
    task = Task.load(job.task, job.data)
    Task(task.card, task.root, task.samples[::-1]).save(job.task)
    with pytest.raises(WorkError, match="features are of other samples than task tiny"):
        start(job)
