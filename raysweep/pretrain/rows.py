"""Which rows of a source a pretraining may use: those of the training split, with a label where one is needed."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysweep.errors import RequestError
from raysweep.patches.outcomes import read_outcomes
from raysweep.patches.read import PatchSet
from raysweep.pretrain.source import SourceInput


class TrainingRows:
    """A source's patch set and its usable rows."""

    def __init__(self, source: SourceInput, *, labelled: bool, split_seed: int) -> None:
        """`labelled`: rows need a label. `split_seed` is the seed that a task's folds are drawn with.

        Raises RequestError when a label is needed and the source has none, or when no row may be used.
        """
        self.source, self.patches = source, PatchSet(source.folder)
        self.classes: list[str] = self.patches.classes
        self._labelled = labelled
        if labelled and len(self.classes) < 2:
            raise RequestError(
                f"patches {source.name}: this method needs labels of at least two classes; give the slide table a "
                "label column"
            )
        allowed = source.allowed(split_seed)
        self._allowed = None if allowed is None else pa.array(sorted(allowed), pa.string())
        if self._allowed is not None:
            self.rows = [len(self.among(self.patches.read(group, self.columns))) for group in self.patches.row_groups]
        else:
            self.rows = [group.labelled if labelled else group.usable for group in self.patches.row_groups]
        if not any(self.rows):
            raise RequestError(f"patches {source.name}: no patch of its training split can be used")

    @property
    def seen(self) -> set[str]:
        """What a leak would be told by: slides and patients; of a labelled set, its name and units."""
        done = [slide for slide in read_outcomes(self.patches.folder) if slide.status == "done"]
        if self._allowed is not None:
            done = [slide for slide in done if slide.slide in set(self._allowed.to_pylist())]
            return {self.source.name} | {slide.patient for slide in done if slide.patient}
        done = [slide for slide in done if slide.split in (None, "train")]
        return {slide.slide for slide in done} | {slide.patient for slide in done if slide.patient}

    @property
    def columns(self) -> list[str]:
        """What must be read of a row group to tell its usable rows."""
        return [*(["slide"] if self._allowed is not None else ["split"]), *(["label"] if self._labelled else [])]

    def among(self, table: pa.Table) -> np.ndarray:
        """Numbers of the usable rows of a row group, int64."""
        if self._allowed is not None:
            usable = pc.is_in(table["slide"].cast(pa.string()), value_set=self._allowed)
        else:
            split = table["split"].cast(pa.string())
            usable = pc.or_kleene(pc.is_null(split), pc.equal(split, "train"))
        if self._labelled:
            usable = pc.and_(usable, pc.is_valid(table["label"]))
        return np.flatnonzero(usable.to_numpy())
