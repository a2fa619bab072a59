"""The classes of a patch set's labels."""

from collections.abc import Iterable, Sequence

from raysweep.errors import RequestError
from raysweep.slides.labels.spec import LabelSpec
from raysweep.slides.table.missing import says_nothing


def classes_of(spec: LabelSpec, table_labels: Iterable[str]) -> list[str]:
    """Class names in the order of their ids.

    Those of `classes` or, for the source mask, of `values`; a `background` that is not among them comes first.
    Without `classes` the labels of the slide table as they are, sorted.

    Raises RequestError when the slide table has a label that no key names.
    """
    if spec.source == "slide":
        left = sorted(set(table_labels) - set(spec.ignore))
        if not spec.classes:
            nothing = [label for label in left if says_nothing(label) and label.lower() != "none"]  # it may be a class
            if nothing:
                raise RequestError(
                    f"labels: the slide table has the label {nothing[0]}; leave the cell empty where there is none, or "
                    "name it in labels.classes or labels.ignore"
                )
            return left
        unknown = set(left).difference(*spec.classes.values())
        if unknown:
            raise RequestError(
                f"labels: the slide table has the label {min(unknown)}, which no class names; "
                "add it to labels.classes or labels.ignore"
            )
    names = spec.value_classes() if spec.source == "mask" else list(spec.classes)
    if spec.background is not None and spec.background not in names:
        names.insert(0, spec.background)
    return names


def mask_classes_of(spec: LabelSpec) -> list[str]:
    """Class names in the order of their ids in a stored mask; none where no mask is stored.

    They are those of the labels where both come from the same regions or mask.
    """
    if not spec.store_mask:
        return []
    return spec.value_classes() if spec.values and spec.source != "mask" else classes_of(spec, ())


def label_of_slide(spec: LabelSpec, label: str | None, classes: Sequence[str]) -> int | None:
    """The id of a slide's label among `classes` (`classes_of`); None when it has none or patches have their own."""
    if spec.source != "slide" or label is None or label in spec.ignore:
        return None
    homes = [name for name, labels in spec.classes.items() if label in labels] if spec.classes else [label]
    return classes.index(homes[0])
