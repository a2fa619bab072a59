"""Linear models on standardised features, one for each value along a path."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from sklearn.preprocessing import StandardScaler

_ROWS = 4096  # images scored at once: bounds the memory of float64 copies


@dataclass(frozen=True)
class LinearModels:
    """`outputs` is 1 for two classes (the second against the first), else the number of classes that have a label."""

    mean: np.ndarray  # (d,) of the training features
    scale: np.ndarray  # (d,) their standard deviations; 1 where a feature is constant
    weights: np.ndarray  # float64 (values, outputs, d), for standardised features
    offsets: np.ndarray  # float64 (values, outputs)
    classes: np.ndarray  # the labels that there are, ascending
    n_classes: int  # of the task

    @classmethod
    def fit(
        cls, features: np.ndarray, labels: np.ndarray, values: Sequence[float],
        fit_one: Callable[[np.ndarray, float], Any], *, n_classes: int,
    ) -> "LinearModels":  # fmt: skip
        """Standardise features (n, d) once, then call `fit_one` with them and each value.

        It returns a scikit-learn linear classifier, which may be the same object each time. Features stay float32
        where the classifier keeps them so.
        """
        scaler = StandardScaler().fit(features)
        x = scaler.transform(features)
        weights, offsets = [], []
        for value in values:
            model = fit_one(x, value)
            weights.append(np.array(model.coef_, np.float64))
            offsets.append(np.broadcast_to(model.intercept_, len(model.coef_)).astype(np.float64))
        return cls(scaler.mean_, scaler.scale_, np.stack(weights), np.stack(offsets), np.unique(labels), n_classes)

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it, by the names of its fields; `of` makes it again."""
        return {name: np.asarray(value) for name, value in vars(self).items()}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> "LinearModels":
        """What `arrays` gave; others among them are left aside."""
        kept = {field.name: arrays[field.name] for field in fields(cls)}
        return cls(**{**kept, "n_classes": int(kept["n_classes"])})  # type: ignore[arg-type]

    def decisions(self, features: np.ndarray) -> np.ndarray:
        """float64 (values, m, outputs) for features (m, d)."""
        values, outputs, d = self.weights.shape
        weights = self.weights.reshape(-1, d).T
        parts = [((features[i : i + _ROWS] - self.mean) / self.scale) @ weights for i in range(0, len(features), _ROWS)]
        flat = np.concatenate(parts) if parts else np.zeros((0, values * outputs))
        return flat.reshape(-1, values, outputs).swapaxes(0, 1) + self.offsets[:, None]

    def spread(self, scores: np.ndarray) -> np.ndarray:
        """float32 (values, m, n_classes) from scores of the classes that there are; 0 for the others."""
        found = np.zeros((*scores.shape[:2], self.n_classes), np.float32)
        found[..., self.classes] = scores
        return found
