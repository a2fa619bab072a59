"""What the numbers in a mask file mean."""

import numpy as np
from pydantic import Field

from raysweep.errors import RequestError
from raysweep.model import Model


class MaskOptions(Model):
    """How pixel values of mask files become class ids. With neither key the values are the class ids."""

    binarise: bool = Field(False, description="instance masks: every value above 0 is class 1")
    values: dict[int, str] = Field({}, description="pixel value -> class name; several values may mean one class")

    def check(self, classes: list[str], where: str) -> None:
        """Raise RequestError when the keys contradict each other or the card's classes."""
        if self.binarise and (self.values or len(classes) != 2):
            raise RequestError(f"{where}.binarise: needs exactly two classes and no values")
        for value, name in self.values.items():
            if name not in classes:
                raise RequestError(f"{where}.values.{value}: {name} is none of the classes {', '.join(classes)}")
            if value < 0:
                raise RequestError(f"{where}.values.{value}: pixel values are at least 0")

    def class_ids(self, mask: np.ndarray, classes: list[str]) -> np.ndarray:
        """Class ids, uint8 (h, w), of an integer mask (h, w). Raises RequestError for a value that means nothing."""
        if self.binarise:
            return (mask > 0).astype(np.uint8)
        known = {value: classes.index(name) for value, name in self.values.items()}
        if not known:
            known = {value: value for value in range(len(classes))}
        table = np.full(int(mask.max(initial=0)) + 1, -1, dtype=np.int16)
        for value, index in known.items():
            if value < len(table):
                table[value] = index
        ids = table[mask]
        if (ids < 0).any():
            value = int(mask[ids < 0].min())
            raise RequestError(f"pixel value {value} is no class; known are {', '.join(map(str, sorted(known)))}")
        return ids.astype(np.uint8)
