"""The samples that a card's layout finds, under names that are the same on every disk."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from raysweep.errors import RequestError
from raysweep.storage import Storage
from raysweep.tasks.card import OWN_SET, Card
from raysweep.tasks.disk import Disk, files_below, nfc
from raysweep.tasks.files import IMAGE_SUFFIXES
from raysweep.tasks.layouts import layout_of
from raysweep.tasks.names import inside
from raysweep.tasks.own_set import own_set_folder
from raysweep.tasks.sample import LeftOut, Sample

_NAMED, _PARTS = 3, 12  # names, and parts with their counts, in a message


def find_root(card: Card, data: Path, index: Storage | None = None) -> Path:
    """The card's folder below `data`, whether it is there or not. Raises RequestError for one outside of it.

    Of a task that is made from a patch set of its study it is that set's, which stands beside `index`, the folder
    STUDY/tasks/NAME/FINGERPRINT that the task's index is kept in: so that a storage that moves takes it along. Of a
    bucket it is a copy on this machine (`own_set_folder`, with its errors).
    """
    if card.own_set:
        if index is None:
            raise RequestError(
                f"card {card.name}: root: {card.root} is a patch set that a study makes; name the card in that study"
            )
        study = Storage(index.fs, index.root.rsplit("/", 3)[0])
        own = inside(card.root.removeprefix(OWN_SET), f"card {card.name}: root")
        return own_set_folder(study.at("patches", *own.split("/")))
    if card.root == ".":
        return data
    path = inside(card.root, f"card {card.name}: root")
    return data / (path if (data / path).exists() else Disk(data).find(path))


def find_samples(card: Card, root: Path) -> list[Sample]:
    """Every sample of the layout; no image is opened.

    Ids and units are in Unicode's form NFC, `image` and `mask` as the files are called on this disk. Raises
    RequestError as the layout does, for a count, with what filters leave out, that is not the card's `n_images`, and
    for two samples of one name.
    """
    samples, places = dict[str, Sample](), dict[str, str]()
    for one in _found(card, root):
        if isinstance(one, LeftOut):
            continue
        name = nfc(one.id)
        if name in samples:
            raise RequestError(
                f"card {card.name}: two images below {root} are called {name}, in two forms of Unicode; rename one"
            )
        if one.image in places:
            raise RequestError(
                f"card {card.name}: {places[one.image]} and {name} are one file, {root / one.image}; leave one out"
            )
        places[one.image] = name
        unit = nfc(one.unit)
        samples[name] = one if (name, unit) == (one.id, one.unit) else replace(one, id=name, unit=unit)
    return list(samples.values())


def _check_counts(card: Card, root: Path, found: Sequence[Sample | LeftOut]) -> None:
    """Raise RequestError where images or units are not as many as the card says: another version, or a part of one."""
    samples = [one for one in found if isinstance(one, Sample)]
    if card.n_images is not None and len(found) != card.n_images:
        raise RequestError(
            f"card {card.name}: n_images: {root} holds {len(found)} images but the card says "
            f"{card.n_images}{_parts(card, samples)}{_strangers(card, root, found)}; complete the download, or correct "
            "the card"
        )
    if card.n_units is None or len(samples) != len(found):
        return
    units = sorted({nfc(sample.unit) for sample in samples})
    if len(units) != card.n_units:
        raise RequestError(
            f"card {card.name}: n_units: the {len(found)} images below {root} are of {len(units)} {card.unit}s "
            f"({', '.join(units[:_NAMED])}{', ...' * (len(units) > _NAMED)}) but the card says {card.n_units}; get the "
            "files under their own names, or correct the card"
        )


def _parts(card: Card, samples: Sequence[Sample]) -> str:
    """How many images each class has, or each split where masks have the classes."""
    counts = Counter(card.classes[s.label] if s.label is not None else s.split for s in samples)
    parts = [f"{name} {count:,}" for name, count in counts.items() if name]
    return f" (found: {', '.join(parts[:_PARTS])}{', ...' * (len(parts) > _PARTS)})" if parts else ""


def _strangers(card: Card, root: Path, found: Sequence[Sample | LeftOut]) -> str:
    """Images below the root that are no part of what was found, as after files were renamed."""
    if layout_of(card)[0].reader.containers:
        return ""
    used = {nfc(path) for one in found for path in (one.image, one.mask) if path}
    others = [path for path, _ in files_below(root) if Path(path).suffix.lower() in IMAGE_SUFFIXES]
    others = [path for path in others if nfc(path) not in used]
    few = f"{', '.join(others[:_NAMED])}{', ...' * (len(others) > _NAMED)}"
    return f"; {len(others)} other images fit no part of its layout: {few}" if others else ""


def find_everything(card: Card, root: Path) -> list[Sample | LeftOut]:
    """Samples, and what the card's filters leave out, under the names of this disk. RequestError as `find_samples`."""
    return list(_found(card, root))


def _found(card: Card, root: Path) -> Iterator[Sample | LeftOut]:
    layout, options = layout_of(card)
    found = layout.index(options, root, card)
    _check_counts(card, root, found)
    disk = Disk(root)
    for one in found:
        if layout.reader.containers:  # the layout has opened their files
            yield one
        else:
            image, mask = disk.find(one.image), None if one.mask is None else disk.find(one.mask)
            yield one if (image, mask) == (one.image, one.mask) else replace(one, image=image, mask=mask)
