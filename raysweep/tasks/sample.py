"""One labelled image of a set, and one that a task leaves out."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """One image with its label or its mask.

    `id` is unique in the task. `image` and `mask` are POSIX paths below the task's root. `label` indexes the
    card's classes (None for segmentation). `present` holds the classes that a mask shows, once it was read. `sides` are
    its splits in the divisions of a set that has several (empty: on no side). `groups` are the subgroups that it is in,
    such as ("site", "A"), where its set's table was read for them: they change no result.
    """

    id: str
    image: str
    mask: str | None
    label: int | None
    unit: str
    split: str | None = None
    present: tuple[int, ...] = ()
    sides: tuple[str, ...] = ()
    groups: tuple[tuple[str, str], ...] = ()

    @property
    def classes(self) -> tuple[int, ...]:
        """The classes that this sample is an example of."""
        return self.present if self.label is None else (self.label,)


@dataclass(frozen=True)
class LeftOut:
    """An image that the set has and the task leaves out, as its card says: its files, as in a sample."""

    image: str
    mask: str | None
