"""What the numbers in masks that nobody has described mean: a guess from their values and how they lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from raysweep.errors import RequestError
from raysweep.tasks.draft.listing import sampled
from raysweep.tasks.files import load_mask

_MOST_CLASSES = 12  # more values than these number objects
_VOID = 255  # what VOC and many others write where nothing is labelled
_WHOLE = 0.9  # of numbered objects are one piece in their mask


@dataclass(frozen=True)
class MaskGuess:
    """The `masks` of a layout, the classes of the card, and what to look at."""

    masks: dict[str, Any]
    classes: list[str]
    warning: str


def guess_masks(root: Path, masks: Sequence[str]) -> MaskGuess:
    """Look at up to 200 of the masks. Raises RequestError where none can be read."""
    values, pieces, numbers, wrong = set[int](), [], [], ""
    apart = True  # 255 and smaller numbers are never in one mask
    for path in sampled(masks):
        try:
            mask = load_mask(root / path)
        except Exception as error:  # a single one is named by `prepare`
            wrong = wrong or f"{path}: {error}"
            continue
        own = [int(value) for value in np.unique(mask)]
        values.update(own)
        above = [value for value in own if value]
        apart = apart and not (_VOID in above and len(above) > 1)
        numbers.append(len(above) == max(above, default=0))
        if len(values) <= _MOST_CLASSES + 1:
            pieces += [ndimage.label(mask == value)[1] == 1 for value in above]
    above = sorted(values - {0})
    if not above:
        raise RequestError(f"{root}: no mask could be read that shows anything (first: {wrong or masks[0]})")
    known = f"the masks hold {_shown(sorted(values))}"
    numbered = len(above) > 1 and all(numbers) and np.mean(pieces or [1]) >= _WHOLE and above != [1, 2]
    if len(above) > _MOST_CLASSES or numbered:
        return MaskGuess({"binarise": True}, ["background", "object"], f"{known}: taken as numbers of objects")
    if above[-1] == _VOID and above[:-1] == list(range(1, len(above))) and len(above) > 1:
        return _with_void(above[:-1], apart, known)
    if len(above) == 1:
        meaning = {} if above == [1] else {"values": {0: "background", above[0]: "object"}}
        return MaskGuess(meaning, ["background", "object"], f"{known}: {above[0]} is taken as the object")
    classes = ["background", *(f"class{value}" for value in above)]
    plain = above == list(range(1, len(above) + 1))
    meaning = {} if plain else {"values": dict(zip([0, *above], classes, strict=True))}
    return MaskGuess(meaning, classes, f"{known}: taken as classes; name them, and list under ignore what is none")


def _with_void(numbers: list[int], apart: bool, known: str) -> MaskGuess:
    """Of masks with 0, 1, ... and 255: what is not labelled, or the object of masks that were saved in another way."""
    if apart and numbers == [1]:
        meaning = {"values": {0: "background", 1: "object", _VOID: "object"}}
        return MaskGuess(meaning, ["background", "object"], f"{known}, 1 and {_VOID} never in one: both are the object")
    classes = ["background", "object"] if numbers == [1] else ["background", *(f"class{n}" for n in numbers)]
    what = f"{known}: {_VOID} is taken as not labelled, and the others as classes; name them"
    return MaskGuess({"ignore": [_VOID]}, classes, what)


def _shown(values: list[int]) -> str:
    if len(values) > 6:
        return f"values from {values[0]} to {values[-1]}"
    return f"the values {', '.join(map(str, values))}"
