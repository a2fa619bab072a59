"""Which class a patch gets."""

import numpy as np

from raysweep.slides.labels.spec import LabelSpec

_SLACK = 1e-9  # fractions are exact to about 1e-12: equal ones must be equal


def claim(spec: LabelSpec, ids: np.ndarray, fractions: np.ndarray, touched: np.ndarray | None = None) -> np.ndarray:
    """The class of each patch, int32 (n,); -1 where none claims it.

    Args:
        spec: `area >= t` asks for that fraction, `any` for more than nothing; by `center` fractions are 0 or 1.
        ids: the classes, integer (k,), the one that wins a tie first.
        fractions: of each patch that each class covers, float (n, k).
        touched: bool (n, k): patches that a class claims without covering any of it.
    """
    if not len(ids):
        return np.full(len(fractions), -1, np.int32)
    least = spec.least_area
    claims = fractions > _SLACK if least is None else fractions >= least - _SLACK
    if touched is not None:
        claims = claims | touched
    best = np.argmax(np.where(claims, np.round(fractions, 9), -1.0), axis=1)
    return np.where(claims.any(axis=1), ids[best], -1).astype(np.int32)
