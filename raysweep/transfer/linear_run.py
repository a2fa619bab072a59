"""The linear probe of one job: scikit-learn's logistic regression on stored features."""

import warnings
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from raysweep.errors import RequestError, WorkError
from raysweep.tasks.task import Task
from raysweep.transfer.features import read_features
from raysweep.transfer.job import Evaluation, Job, Run
from raysweep.transfer.metrics import score
from raysweep.transfer.predictions import classification_table
from raysweep.transfer.protocol import read_settings

_ITERATIONS = 1000  # of L-BFGS; a fit that would need more is taken as it is


class LinearRun(Run):
    """See `Run`. One fit, one evaluation (step 1), whatever the job's steps; `select` has nothing to choose from."""

    def __init__(self, job: Job) -> None:
        self._job, self._task = job, Task.load(job.task, job.data)
        self._settings: Any = read_settings("linear", self._task.card.kind, job.params)
        if job.features is None:
            raise WorkError(f"task {self._task.card.name}: protocol linear needs features, and the job names none")
        ids, self._features = read_features(job.features)
        if ids != [sample.id for sample in self._task.samples]:
            raise WorkError(f"{job.features.root}: features are of other samples than task {self._task.card.name}")
        self._model: Pipeline | None = None

    def advance(self) -> Evaluation | None:
        if self._model is not None:
            return None
        self._model = self._fit()
        _, train_loss = self._evaluate(self._job.train)
        predictions, val_loss = self._evaluate(self._job.val)
        return Evaluation(1, train_loss, val_loss, score(predictions, self._task.card.metric, "classification"))

    def predict(self, indices: list[int]) -> pa.Table:
        if self._model is None:
            self._model = self._fit()
        return self._evaluate(indices)[0]

    def _fit(self) -> Pipeline:
        labels = self._labels(self._job.train)
        if len(set(labels.tolist())) < 2:
            raise RequestError(f"task {self._task.card.name}: the training samples are all of one class")
        model = make_pipeline(StandardScaler(), LogisticRegression(C=self._settings.C, max_iter=_ITERATIONS))
        with threadpool_limits(self._job.threads), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return model.fit(self._rows(self._job.train), labels)

    def _evaluate(self, indices: list[int]) -> tuple[pa.Table, float]:
        assert self._model is not None
        scores = np.zeros((len(indices), len(self._task.card.classes)))
        with threadpool_limits(self._job.threads):
            scores[:, self._model.classes_] = self._model.predict_proba(self._rows(indices))
        right = scores[np.arange(len(indices)), self._labels(indices)]
        loss = -np.log(np.maximum(right, np.finfo(np.float32).tiny)).mean()
        return classification_table([self._task.samples[i] for i in indices], scores, fold=self._job.fold), float(loss)

    def _rows(self, indices: list[int]) -> np.ndarray:
        return self._features[indices].astype(np.float64)

    def _labels(self, indices: list[int]) -> np.ndarray:
        return np.array([self._task.samples[i].label for i in indices])
