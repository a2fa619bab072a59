"""What the numbers in a mask file mean."""

import io
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from raysweep.errors import RequestError, WorkError
from raysweep.model import Model
from raysweep.patches.schema import NO_CLASS

IGNORED = NO_CLASS  # the class id of a pixel that counts neither in a loss nor in a metric
MOST_CLASSES = IGNORED  # of a segmentation task: ids are 8-bit numbers below it
_MOST = 2**16 - 1
_NEAR = 19  # values between what was drawn and what a JPEG makes of most of it
_ALIKE = 0.5  # of neighbours: they have one value in 0.9 of instances, in 0.2 of ripples


class MaskOptions(Model):
    """How pixel values of mask files become class ids. With no key the values are the class ids."""

    binarise: bool = Field(False, description="instance masks: every value above 0 is class 1")
    instances: bool = Field(False, description="the same, said by layouts whose files number objects")
    values: dict[int, str] = Field({}, description="pixel value -> class name; several values may mean one class")
    ignore: list[int] = Field([], description="pixel values that count neither in the loss nor in a metric")
    channel: Literal["red", "green", "blue"] | None = Field(
        None, description="the channel of coloured masks that holds the values; default: all channels are equal"
    )

    @field_validator("ignore", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return value if isinstance(value, list) else [value]

    @property
    def numbered(self) -> bool:
        """Whether the values number objects: 0 is the background, and all others are class 1."""
        return self.binarise or self.instances

    def inputs(self) -> dict[str, Any]:
        """What changes class ids, for fingerprints."""
        return self.model_dump(mode="json", exclude=set() if self.channel else {"channel"})

    def check(self, classes: list[str], where: str) -> None:
        """Raise RequestError when the keys contradict each other or the card's classes."""
        if self.numbered and (self.values or len(classes) != 2):
            raise RequestError(
                f"{where}.{'binarise' if self.binarise else 'instances'}: needs exactly two classes and no values"
            )
        for value, name in self.values.items():
            if name not in classes:
                hint = f"; list {value} under {where}.ignore" if name == "ignore" else ""
                raise RequestError(f"{where}.values.{value}: {name} is none of the classes {', '.join(classes)}{hint}")
        for key, values in (("values", list(self.values)), ("ignore", self.ignore)):
            for value in values:
                if not 0 <= value <= _MOST:
                    raise RequestError(f"{where}.{key}: {value}: pixel values are at least 0, at most {_MOST}")
        for value in self.ignore:
            if value in self.values or (not self.numbered and not self.values and value < len(classes)):
                raise RequestError(f"{where}.ignore: {value} also means a class; a value means one thing")

    def class_ids(self, mask: np.ndarray, classes: list[str]) -> np.ndarray:
        """Class ids, uint8 (h, w), of an integer mask (h, w) from 0 on; `IGNORED` where the value is one to ignore.

        Raises WorkError for a value that means nothing, and for a mask to binarise whose values are no instances.
        """
        if self.numbered:
            binary = (mask > 0).astype(np.uint8)
            binary[np.isin(mask, self.ignore)] = IGNORED
            _check_instances(np.where(binary == IGNORED, 0, mask))
            return binary
        known = {value: classes.index(name) for value, name in self.values.items()}
        if not known:
            known = {value: value for value in range(len(classes))}
        known |= dict.fromkeys(self.ignore, IGNORED)
        table = np.full(max(known) + 2, -1, dtype=np.int16)  # the last stands for everything above
        for value, index in known.items():
            table[value] = index
        ids = table.take(mask, mode="clip")
        if (ids < 0).any():
            value = int(mask[ids < 0].min())
            raise WorkError(
                f"pixel value {value} is no class; known are {', '.join(map(str, sorted(known)))}; add it to "
                "layout.masks: to values, or to ignore if it is no class"
            )
        return ids.astype(np.uint8)


def encode_mask(ids: np.ndarray) -> bytes:
    """Class ids, uint8 (h, w), as a PNG of 8-bit grey; nothing is lost."""
    from PIL import Image  # which few of those that read this module need

    out = io.BytesIO()
    Image.fromarray(ids).save(out, "PNG")
    return out.getvalue()


def _check_instances(mask: np.ndarray) -> None:
    """Raise WorkError when the foreground of a mask (h, w) is that of objects drawn with one value and blurred since.

    After a JPEG that was saved as PNG, or a smooth resize, most of the foreground is at or near that value and the rest
    is spread over many values that change from pixel to pixel. The numbers of instances do not change within one.
    """
    if mask.dtype != np.uint8:
        return
    counts = np.bincount(mask.ravel(), minlength=256)
    drawn = int(counts[1:].argmax()) + 1
    others = np.count_nonzero(counts[1:]) - 1
    near = counts[max(1, drawn - _NEAR) : drawn + _NEAR + 1].sum()
    if others < 4 or near < 0.5 * counts[1:].sum():
        return
    between = (mask[:, 1:] > 0) & (mask[:, 1:] != drawn)
    if (mask[:, 1:] == mask[:, :-1])[between].mean() < _ALIKE:
        raise WorkError(
            f"most of its foreground is near the value {drawn} and the rest has {others} others, as after a JPEG or a "
            "smooth resize: no instance numbers; make it anew from the original"
        )
