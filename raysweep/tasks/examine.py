"""Can a sample be used? Its files are read once: for what they hold, and for what identifies them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from raysweep.errors import RequestError, reason_of
from raysweep.storage import file_identity
from raysweep.tasks.card import Card
from raysweep.tasks.files import load_image, load_mask
from raysweep.tasks.masks import MaskOptions
from raysweep.tasks.sample import Sample


@dataclass(frozen=True)
class Examined:
    """What the files of a usable sample hold.

    `identity` names their bytes. `stamp` (sizes and times) is theirs when they were decoded, else empty: files with
    the same stamp need not be read again. `present` are the classes that the mask shows.
    """

    identity: str
    stamp: str
    present: tuple[int, ...]


def examine(
    sample: Sample, root: Path, card: Card, masks: MaskOptions, *, decode: bool, known: Examined | None = None
) -> Examined | str:
    """What a sample's files hold, or the reason why it cannot be used.

    With `decode` image and mask are decoded to their last pixel and compared; without, they need only exist.
    `known` is returned as it is when the files still have its stamp. Raises RequestError for a mask value that
    the card does not know.
    """
    names = [sample.image] if sample.mask is None else [sample.image, sample.mask]
    current = sample.image
    identities, stamps = [], []

    def subject() -> str:
        return "the image" if current == sample.image else f"its mask {current}"

    try:
        for current in names:
            facts = (root / current).stat()
            stamps.append(f"{facts.st_size}-{facts.st_mtime_ns}")
        if known and known.stamp == "+".join(stamps):
            return known
        for current in names:
            identity = file_identity(root / current)
            identities.append(f"{identity['size']}-{identity['hash']}")
        if not decode:
            return Examined("+".join(identities), "", ())
        current = sample.image
        width, height = load_image(root / current).size
        if sample.mask is None:
            return Examined("+".join(identities), "+".join(stamps), ())
        current = sample.mask
        mask = load_mask(root / current)
    except FileNotFoundError:
        return f"{subject()} is missing"
    except Exception as error:  # decoders raise whatever a broken file leads them to
        return f"{subject()} cannot be read: {reason_of(error)}".replace(f"{root}/", "")
    if mask.shape != (height, width):
        own = f"{mask.shape[1]} x {mask.shape[0]}"
        return f"the image is {width} x {height} px, its mask {sample.mask} is {own} px"
    try:
        ids = masks.class_ids(mask, card.classes)
    except RequestError as error:
        raise RequestError(f"card {card.name}: layout.masks: {sample.mask}: {error}") from error
    present = np.flatnonzero(np.bincount(ids.ravel()))
    return Examined("+".join(identities), "+".join(stamps), tuple(present.tolist()))
