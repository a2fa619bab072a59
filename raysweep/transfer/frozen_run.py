"""A frozen protocol at work on one job: its path by cross-validation, then one fit on the whole draw."""

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from raysweep.backbones.checkpoint import read_info
from raysweep.errors import RequestError, WorkError
from raysweep.storage import MANIFEST, Storage
from raysweep.tasks.task import Task
from raysweep.transfer.cross_validation import divide
from raysweep.transfer.features import open_features
from raysweep.transfer.frozen import FrozenProtocol
from raysweep.transfer.job import Chosen, Evaluation, Job, Run
from raysweep.transfer.metrics import score
from raysweep.transfer.model_info import Trained, model_info
from raysweep.transfer.predictions import classification_table
from raysweep.transfer.protocol import read_path

if TYPE_CHECKING:
    from raysweep.transfer.images import Images
    from raysweep.transfer.kept_masks import KeptMasks

_KEPT = 4  # sets of features that a process keeps open


class FrozenRun(Run):
    """See `Run`. `advance` gives one evaluation for each setting of the path, `predict` is by the one that was chosen.

    The draw is divided by unit (see `divide`); every part is scored by fits on the others, and these predictions
    together give the card's metric as a test set's do: counts over all of them, and what ranks (AUROC) within each
    part, then the mean over parts. The best metric is chosen; equal ones go to the lower log-loss where scores are
    probabilities, then to the stronger regularisation. The path's default is taken where the draw cannot be divided or
    the metric is undefined. The chosen setting is fitted on the whole draw, from nothing.
    """

    def __init__(self, job: Job, protocol: FrozenProtocol) -> None:
        self._job, self._protocol = job, protocol
        if job.features is None:
            raise WorkError(f"protocol {protocol.name} needs features, and the job names none")
        self._opened = _open(job)
        card = self._opened.task.card
        self._path = read_path(protocol.name, card.kind, job.params, where=f"params of {protocol.name}")
        labels = self._opened.labels[job.train]
        if len(np.unique(labels)) < 2:
            raise RequestError(f"task {card.name}: the training samples are all of one class")
        self._evaluations: list[Evaluation] | None = None
        self._given: Iterator[Evaluation] = iter(())
        self._chosen: Chosen | None = None
        self._fitted: dict[str, np.ndarray] | None = None  # with the chosen setting, on the whole draw

    def advance(self) -> Evaluation | None:
        if self._evaluations is None:
            self._choose()
        return next(self._given, None)

    def chosen(self) -> Chosen:
        if self._chosen is None:
            self._choose()
        assert self._chosen is not None
        return self._chosen

    def predict(
        self, indices: Sequence[int], images: "Images | None" = None, masks: "KeptMasks | None" = None
    ) -> pa.Table:
        scorer = self._protocol.scorer(self._final_fit())
        features = self._features(list(indices)) if images is None else self._features_of(images, indices)
        with threadpool_limits(self._job.threads):
            scores = scorer(features)[0]
        samples = (self._opened.task if images is None else images.task).samples
        return classification_table([samples[i] for i in indices], scores, fold=self._job.fold)

    def trained(self) -> Trained:
        """The fit alone: the backbone is the checkpoint's own."""
        card, how = self._opened.task.card, self._protocol
        assert self._job.features is not None
        px = int(self._job.features.read_json(MANIFEST)["config"].get("own_px", card.px))
        info = model_info(
            card, read_info(self._job.checkpoint), protocol=how.name, fold=self._job.fold, params=self.chosen().params,
            own_px=px,
        )  # fmt: skip
        return Trained(self._final_fit(), info, self._job.checkpoint)

    def _features_of(self, images: "Images", indices: Sequence[int]) -> np.ndarray:
        """Of a further test set: those that the job names, else computed as `compute_features` does."""
        card = images.task.card
        if card.name in self._job.test_features:
            samples, stored = open_features(self._job.test_features[card.name])
            _check_samples(self._job.test_features[card.name], samples, images.task)
            return np.asarray(stored[list(indices)])
        import torch

        from raysweep.backbones.checkpoint import load_checkpoint
        from raysweep.transfer.features import features_of
        from raysweep.transfer.own_px import own_px

        backbone, info = load_checkpoint(self._job.checkpoint)
        own = own_px(backbone, backbone, images.task.card.px, name=info.backbone, arguments=info.arguments)
        device = torch.device("cuda" if self._job.gpu else "cpu")
        return features_of(backbone.to(device), images, indices, mean=info.mean, std=info.std, device=device, own=own)

    def _choose(self) -> None:
        """Cross-validate the path."""
        task, train = self._opened.task, self._job.train
        features, labels = self._features(train), self._opened.labels[train]
        division = divide(labels, self._opened.units[train], unit=task.card.unit, seed=self._job.seed)
        self._evaluations, by = [], division.by
        if division.parts:
            scores = np.zeros((len(self._path.values), len(train), len(task.card.classes)), np.float32)
            part_of = np.zeros(len(train), np.int32)
            for number, (fit, held) in enumerate(division.parts):
                scorer = self._protocol.scorer(self._fit(features[fit], labels[fit], self._path.values))
                with threadpool_limits(self._job.threads):
                    scores[:, held] = scorer(features[held])
                part_of[held] = number
            self._evaluations = self._evaluated(scores, part_of)
        metrics = [e.val_metric for e in self._evaluations]
        best = self._best()
        if best is None and metrics:
            by = f"default: {task.card.metric} is undefined in {by}"
        value = self._path.default if best is None else self._path.values[best]
        edge = self._protocol.setting if best is not None and self._at_edge(best, metrics) else ""
        self._chosen = Chosen({self._protocol.setting: value}, by, edge)
        self._given = iter(self._evaluations)

    def _evaluated(self, scores: np.ndarray, part_of: np.ndarray) -> list[Evaluation]:
        """Of held-out scores (values, n, classes) of the draw, and the part that each of its rows was held out in."""
        task, train = self._opened.task, self._job.train
        labels = self._opened.labels[train]
        plain = classification_table([task.samples[i] for i in train], scores[0])
        plain = plain.set_column(plain.schema.get_field_index("fold"), "fold", pa.array(part_of))
        found = []
        for place, (value, rows) in enumerate(zip(self._path.values, scores, strict=True)):
            lists = pa.ListArray.from_arrays(np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1], rows.ravel())
            table = plain.set_column(plain.schema.get_field_index("scores"), "scores", lists)
            right = rows[np.arange(len(rows)), labels].astype(np.float64)
            loss = -np.log(np.maximum(right, np.finfo(np.float32).tiny)).mean()
            metric = score(table, task.card.metric, task.card.kind)
            found.append(Evaluation(place + 1, None, float(loss), metric, {self._protocol.setting: value}))
        return found

    def _best(self) -> int | None:
        """Place on the path; None where no metric is a number."""
        known = [e for e in self._evaluations or [] if math.isfinite(e.val_metric)]
        if not known:
            return None
        loss = (lambda e: e.val_loss) if self._protocol.probabilities else (lambda e: 0.0)
        return min(known, key=lambda e: (-e.val_metric, loss(e), e.step)).step - 1

    def _at_edge(self, best: int, metrics: list[float]) -> bool:
        """Whether the path ends at the best value although its neighbour was worse: better ones may lie beyond."""
        last = len(metrics) - 1
        if last == 0 or best not in (0, last) or self._path.values[best] == self._protocol.limit:
            return False
        return metrics[best] != metrics[1 if best == 0 else last - 1]

    def _final_fit(self) -> dict[str, np.ndarray]:
        if self._fitted is None:
            value, train = self.chosen().params[self._protocol.setting], self._job.train
            self._fitted = self._fit(self._features(train), self._opened.labels[train], [value])
        return self._fitted

    def _fit(self, features: np.ndarray, labels: np.ndarray, values: list[float]) -> dict[str, np.ndarray]:
        classes, seed = len(self._opened.task.card.classes), self._job.seed % 2**32
        with threadpool_limits(self._job.threads):
            return self._protocol.fitted(features, labels, n_classes=classes, values=values, seed=seed)

    def _features(self, indices: list[int]) -> np.ndarray:
        """float32 (n, d), read from the mapped file."""
        return np.asarray(self._opened.features[indices])


@dataclass(frozen=True)
class _Opened:
    task: Task
    features: np.ndarray  # float32 (samples, d), memory-mapped
    labels: np.ndarray  # (samples,)
    units: np.ndarray  # (samples,), as numbers


def _check_samples(features: Storage, ids: pa.ChunkedArray, task: Task) -> None:
    if not ids.equals(pa.chunked_array([[sample.id for sample in task.samples]], pa.string())):
        raise WorkError(f"{features.root}: features are of other samples than task {task.card.name}")


_kept: OrderedDict[tuple[str, str, str], _Opened] = OrderedDict()


def _open(job: Job) -> _Opened:
    """The job's task and features. An actor runs many finals of few tasks: the last ones stay open."""
    assert job.features is not None
    key = (job.features.root, job.task.root, job.data)
    if key not in _kept:
        task = Task.load(job.task, job.data)
        ids, features = open_features(job.features)
        _check_samples(job.features, ids, task)
        labels = np.array([sample.label for sample in task.samples])
        _, units = np.unique([sample.unit for sample in task.samples], return_inverse=True)
        _kept[key] = _Opened(task, features, labels, units)
        if len(_kept) > _KEPT:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return _kept[key]
