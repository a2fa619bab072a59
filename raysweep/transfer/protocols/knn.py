"""Nearest neighbours by cosine similarity of the frozen backbone's features."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from raysweep.model import Model
from raysweep.transfer.frozen import FrozenProtocol
from raysweep.transfer.job import Job, Run
from raysweep.transfer.protocols import register

if TYPE_CHECKING:
    import numpy as np

    from raysweep.transfer.frozen import Scorer

_TEMPERATURE = 0.07  # of a neighbour's weight, as in Wu et al. (2018) and DINO
_ROWS = 512  # images scored at once: bounds the memory


class KnnSettings(Model):
    k: int = Field(ge=1, description="neighbours that vote; all images where there are fewer")


@register
class Knn(FrozenProtocol):
    """Each of the k most similar images votes for its class with weight exp(cosine similarity / 0.07).

    The weighted vote of Wu et al. (2018, arXiv 1805.01978, section 3.4), as DINO evaluates features. A class's score is
    its part of all votes. Features are neither centred nor scaled, only brought to length one.
    """

    name = "knn"
    setting = "k"
    falls = True
    limit = 1
    probabilities = False

    def settings(self, kind: str) -> type[KnnSettings]:
        return KnnSettings

    def start(self, job: Job) -> Run:
        from raysweep.transfer.frozen_run import FrozenRun  # sklearn

        return FrozenRun(job, self)

    def fitted(
        self, features: "np.ndarray", labels: "np.ndarray", *, n_classes: int, values: Sequence[float], seed: int
    ) -> "dict[str, np.ndarray]":
        import numpy as np

        last = [min(int(k), len(features)) - 1 for k in values]
        return {
            "known": _unit_length(features), "labels": np.asarray(labels), "last": np.array(last),
            "n_classes": np.array(n_classes),
        }  # fmt: skip

    def scorer(self, fitted: "Mapping[str, np.ndarray]") -> "Scorer":
        import numpy as np

        known, last, n_classes = fitted["known"], fitted["last"], int(fitted["n_classes"])
        votes = np.eye(n_classes, dtype=np.float32)[fitted["labels"]]
        most = int(last.max()) + 1

        def part(rows: np.ndarray) -> np.ndarray:
            similar = _unit_length(rows) @ known.T
            near = np.argpartition(-similar, most - 1, axis=1)[:, :most]
            near.sort(axis=1)  # equal ones in the order of the images
            order = np.argsort(-np.take_along_axis(similar, near, 1), axis=1, kind="stable")
            near = np.take_along_axis(near, order, 1)
            similar = np.take_along_axis(similar, near, 1)
            weights = np.exp((similar - similar[:, :1]) / _TEMPERATURE)  # relative to the nearest: no overflow
            sums = np.cumsum(weights[..., None] * votes[near], axis=1, dtype=np.float64)[:, last]
            return (sums / sums.sum(-1, keepdims=True)).astype(np.float32).swapaxes(0, 1)

        def scores(features: np.ndarray) -> np.ndarray:
            parts = [part(features[i : i + _ROWS]) for i in range(0, len(features), _ROWS)]
            return np.concatenate(parts, axis=1) if parts else np.zeros((len(last), 0, n_classes), np.float32)

        return scores


def _unit_length(features: "np.ndarray") -> "np.ndarray":
    import numpy as np

    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(length, np.finfo(np.float32).tiny)
