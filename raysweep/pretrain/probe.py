"""What a network has learnt so far: a linear probe and nearest neighbours on a labelled set, while it is pretrained."""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from raysweep.errors import WorkError, reason_of
from raysweep.randomness import stable_hash
from raysweep.storage import Storage
from raysweep.tasks.splits import folds
from raysweep.tasks.task import Task

if TYPE_CHECKING:
    import torch
    from torch import nn

_MOST_IMAGES = 1000  # training waits meanwhile
_FIGURES = ("probe", "knn")
_PARTS = 5  # of the cross-validation, at most
_NEIGHBOURS = 20  # as DINO reports (Caron et al. 2021, section 4.1); fewer where classes are small
_ITERATIONS = 200  # of L-BFGS; a fit that would need more is taken as it is


@dataclass(frozen=True)
class ProbeInput:
    """The task that a training is probed with, and when. Small and picklable: it travels to every worker."""

    task: Storage  # folder written by Task.save
    data: str  # folder that the task's own folder stands in
    fold: int  # whose train split is used: nothing else of the task is looked at
    every: int  # epochs from probe to probe; the first and the last weights are probed as well


class Probe:
    """Figures of a network on a task's train split, by cross-validation over units. They decide nothing.

    Balanced accuracies in [0, 1]: `probe` (logistic regression on standardised features) and `knn` (cosine); and
    `probe_seconds`. A network takes normalised float (n, 3, px, px) on the device to (n, d). Its weights, its modules'
    modes and torch's random numbers are afterwards what they were. A probe that fails gives nothing and says why, once.
    """

    def __init__(
        self, given: ProbeInput, *, seed: int, mean: Sequence[float], std: Sequence[float], device: "torch.device",
        threads: int, say: Callable[[str], None],
    ) -> None:  # fmt: skip
        """`seed` is the study's: all its checkpoints are probed on the same images. `mean`, `std`: the network's."""
        self._given, self._seed, self._mean, self._std = given, seed, mean, std
        self._device, self._threads, self._say = device, threads, say
        self._failed = False

    def due(self, epoch: int, epochs: int) -> bool:
        """Whether the weights are probed after so many of so many epochs."""
        return epoch % self._given.every == 0 or epoch == epochs

    def before(self, network: "nn.Module") -> dict[str, float]:
        """The figures of the weights before training: `probe_start`, `knn_start`."""
        found = self._looked(network, "before training")
        return {f"{name}_start": value for name, value in found.items() if name in _FIGURES}

    def after(self, network: "nn.Module", epoch: int) -> dict[str, float]:
        """The figures after so many epochs."""
        return self._looked(network, f"after epoch {epoch}")

    def _looked(self, network: "nn.Module", when: str) -> dict[str, float]:
        try:
            return self._figures(network)
        except Exception as error:  # it only looks on: a file, the memory or the network's shape end no training
            if not self._failed:
                self._failed = True
                self._say(f"the probe {when} failed ({reason_of(error)}); the training goes on")
            return {}

    def _figures(self, network: "nn.Module") -> dict[str, float]:
        from raysweep.transfer.features import features_of
        from raysweep.transfer.images import open_images
        from raysweep.transfer.own_px import own_px

        started = time.monotonic()
        _check_norms(network)
        images = open_images(self._given.task, self._given.data)
        chosen = probed_samples(images.task, self._given.fold, self._seed)
        with _undisturbed(network, self._device):
            own = own_px(network, network, images.task.card.px, name="under training", arguments={})
            features = features_of(
                network, images, chosen, mean=self._mean, std=self._std, device=self._device, own=own
            )
        if not np.isfinite(features).all():
            raise WorkError("features are not finite")
        samples = [images.task.samples[index] for index in chosen]
        labels = np.array([sample.label for sample in samples])
        units = np.array([sample.unit for sample in samples])
        found = cross_validated(features, labels, units, threads=self._threads)
        return {**found, "probe_seconds": time.monotonic() - started}


def probed_samples(task: Task, fold: int, seed: int) -> list[int]:
    """Indices into `task.samples`, ascending: the fold's train split, of which at most 1,000 are drawn by the seed."""
    train = folds(task, seed)[fold].train
    drawn = sorted(train, key=lambda index: stable_hash(seed, "probe", task.card.name, task.samples[index].id))
    return sorted(drawn[:_MOST_IMAGES])


def cross_validated(features: np.ndarray, labels: np.ndarray, units: np.ndarray, *, threads: int) -> dict[str, float]:
    """Balanced accuracies of a linear probe and of nearest neighbours, in [0, 1], each image by models that never saw
    its unit.

    Args:
        features: float (n, d).
        labels: int (n,).
        units: (n,), what is independent.
        threads: CPU threads for it.

    Raises WorkError when a class is in one unit alone, or there is one class.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    classes = np.unique(labels)
    least = min(len(np.unique(units[labels == label])) for label in classes)
    if len(classes) < 2 or least < 2:
        raise WorkError("every one of at least two classes must be in two units to be probed")
    parts = min(_PARTS, least)
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        divided = list(StratifiedGroupKFold(parts, shuffle=True, random_state=0).split(features, labels, units))
        smallest = min(len(train) for train, _ in divided)
        models = {
            "probe": make_pipeline(StandardScaler(), LogisticRegression(max_iter=_ITERATIONS)),
            "knn": KNeighborsClassifier(min(_NEIGHBOURS, max(1, smallest // len(classes))), metric="cosine"),
        }
        return {
            name: float(balanced_accuracy_score(labels, cross_val_predict(model, features, labels, cv=divided)))
            for name, model in models.items()
        }


def _check_norms(network: "nn.Module") -> None:
    """Norms without statistics of their own take those of all ranks, and the others do not take part in a probe."""
    from torch.nn.modules.batchnorm import _BatchNorm

    if any(isinstance(module, _BatchNorm) and module.running_mean is None for module in network.modules()):
        raise WorkError("the backbone's batch normalisation keeps no statistics to evaluate it with")


@contextmanager
def _undisturbed(network: "nn.Module", device: "torch.device") -> Iterator[None]:
    """The network in evaluation mode; every module's mode and the random numbers are put back."""
    import torch

    modes = [(module, module.training) for module in network.modules()]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            network.eval()
            yield
        finally:
            for module, training in modes:  # parents first: what they tell their parts is put right after them
                module.train(training)
