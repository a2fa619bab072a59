"""The classes of a patch set's mask patches."""

from raysweep.slides.labels.classes import classes_of
from raysweep.slides.labels.spec import LabelSpec


def mask_classes_of(spec: LabelSpec) -> list[str]:
    """Class names in the order of their ids in a stored mask; none where no mask is stored.

    They are those of the labels where both come from the same regions or mask.
    """
    if not spec.store_mask:
        return []
    return spec.value_classes() if spec.values and spec.source != "mask" else classes_of(spec, ())
