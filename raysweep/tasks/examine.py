"""Can a sample be used? Its files are read once: for what they hold, and for what identifies them."""

from dataclasses import dataclass

import numpy as np

from raysweep.errors import WorkError, reason_of
from raysweep.tasks.card import Card
from raysweep.tasks.files import UnfitError, raw_size
from raysweep.tasks.look import look_of
from raysweep.tasks.masks import IGNORED, MaskOptions
from raysweep.tasks.reader import Reader
from raysweep.tasks.sample import Sample


@dataclass(frozen=True)
class Examined:
    """What the files of a usable sample hold.

    `identity` names their bytes. `stamp` (sizes and times) is theirs when they were decoded, else empty: files with
    the same stamp need not be read again. `present` are the classes that the mask shows. `look` is the image's
    `look_of`, 0 where it was not decoded. `colours`: what a mask's palette draws its numbers with.
    """

    identity: str
    stamp: str
    present: tuple[int, ...]
    look: int = 0
    colours: tuple[tuple[int, tuple[int, ...]], ...] = ()


@dataclass(frozen=True)
class Unusable:
    """Why a sample is left out; `broken` when its image is there and cannot be decoded, `resized` when it has not the
    size that the card says."""

    reason: str
    broken: bool = False
    resized: bool = False


def unchanged(sample: Sample, reader: Reader, known: Examined | None) -> bool:
    """Whether a sample's files still have the stamp of what is known of them: then they need not be read again."""
    if known is None or not known.stamp:
        return False
    try:
        return known.stamp == "+".join(map(reader.stamp, _files(sample)))
    except OSError:
        return False


def examine(sample: Sample, reader: Reader, card: Card, masks: MaskOptions, *, decode: bool) -> Examined | Unusable:
    """What a sample's files hold, or the reason why it cannot be used.

    With `decode` image and mask are decoded to their last pixel and compared; without, they need only exist.
    """
    names = _files(sample)
    current = sample.image
    identities, stamps = [], []

    def subject() -> str:
        return "the image" if current == sample.image else f"its mask {current}"

    try:
        for current in names:
            stamps.append(reader.stamp(current))
        for current in names:
            identities.append(reader.identity(current))
        if not decode:
            return Examined("+".join(identities), "", ())
        current = sample.image
        look = 0
        if reader.containers:  # its rows are of one kind: it says their size, and damage is said by who reads them
            width, height = reader.size(current)
        else:
            picture = reader.image(current)
            width, height = picture.size
            look = look_of(picture)
        if card.image_px and (width, height) != card.image_px:
            expected = " x ".join(map(str, card.image_px))
            return Unusable(f"the image is {width} x {height} px, and those of the set {expected}", resized=True)
        if sample.mask is None:
            return Examined("+".join(identities), "+".join(stamps), (), look)
        current = sample.mask
        mask = reader.mask(sample)
        colours = reader.colours(sample, mask)
    except FileNotFoundError:
        return Unusable(f"{subject()} is missing")
    except Exception as error:  # decoders raise whatever a broken file leads them to
        reason = f"{subject()} cannot be read: {reason_of(error)}".replace(f"{reader.root}/", "")
        return Unusable(reason, broken=current == sample.image and not isinstance(error, UnfitError))
    if mask.shape != (height, width):
        own = f"{mask.shape[1]} x {mask.shape[0]}"
        plain = reader.containers or raw_size(reader.root / sample.image) == (width, height)
        turned = "" if plain else ", turned by its EXIF orientation"
        return Unusable(f"the image is {width} x {height} px{turned}, its mask {sample.mask} is {own} px")
    try:
        ids = masks.class_ids(mask, card.classes)
    except WorkError as error:
        return Unusable(f"its mask {sample.mask}: {error}")
    present = np.flatnonzero(np.bincount(ids.ravel(), minlength=IGNORED)[:IGNORED])
    if not len(present):
        return Unusable(f"its mask {sample.mask} has no pixel that counts: all are ignored")
    return Examined("+".join(identities), "+".join(stamps), tuple(present.tolist()), look, tuple(colours.items()))


def _files(sample: Sample) -> list[str]:
    return [sample.image] if sample.mask is None else [sample.image, sample.mask]
