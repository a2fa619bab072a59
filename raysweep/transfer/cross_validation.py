"""How the draw of a repeat is divided, so that a setting can be chosen inside it."""

import warnings
from dataclasses import dataclass

import numpy as np

FOLDS = 5


@dataclass(frozen=True)
class Division:
    """Parts of a draw. Each row is held out once, and the rest of its part's rows hold every class.

    parts: (rows to fit, rows held out), ascending; none where the draw cannot be divided. by: in words.
    """

    parts: list[tuple[np.ndarray, np.ndarray]]
    by: str


def divide(labels: np.ndarray, units: np.ndarray, *, unit: str, seed: int) -> Division:
    """Divide a draw into FOLDS parts of whole units, classes spread over them; a function of the seed.

    Args:
        labels: (n,) classes.
        units: (n,) of any type that sorts.
        unit: what a unit is, for the words: patient, slide, image.
        seed: of the shuffle.

    There are fewer parts where a class has fewer units: one for each, two at least. A class in a single unit cannot be
    both fitted and held out by units: then the draw is divided by image, likewise; and not at all where a class has a
    single image.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    seed %= 2**32
    _, codes = np.unique(units, return_inverse=True)
    per_class = [np.unique(codes[labels == c]).size for c in np.unique(labels)]
    if codes.max() + 1 < len(codes):
        for k in range(min(FOLDS, *per_class), 1, -1):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of classes with fewer images than parts: none has
                splitter = StratifiedGroupKFold(k, shuffle=True, random_state=seed)
                parts = list(splitter.split(codes, labels, codes))
            if all(_whole(labels, *part) for part in parts):
                return Division(parts, f"cross-validation by {unit}, {k} folds")
    k = min(FOLDS, int(np.unique(labels, return_counts=True)[1].min()))
    if k < 2:
        return Division([], "default: a class has one image, which cannot be cross-validated")
    parts = list(StratifiedKFold(k, shuffle=True, random_state=seed).split(codes, labels))
    why = "" if codes.max() + 1 == len(codes) else f"; a class is in one {unit} alone"
    return Division(parts, f"cross-validation by image, {k} folds{why}")


def _whole(labels: np.ndarray, fit: np.ndarray, held: np.ndarray) -> bool:
    return len(held) > 0 and np.unique(labels[fit]).size == np.unique(labels).size
