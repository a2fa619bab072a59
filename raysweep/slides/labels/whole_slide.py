"""The label that a slide gives all its patches."""

from collections.abc import Sequence

from raysweep.slides.labels.spec import LabelSpec


def label_of_slide(spec: LabelSpec, label: str | None, classes: Sequence[str]) -> int | None:
    """The id of a slide's label among `classes` (`classes_of`); None when it has none or patches have their own."""
    if spec.source != "slide" or label is None or label in spec.ignore:
        return None
    homes = [name for name, labels in spec.classes.items() if label in labels] if spec.classes else [label]
    return classes.index(homes[0])
