"""Images and their masks: in folders side by side, in such folders of each split, or together under two names."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath

from raysweep.tasks.draft.found import Found
from raysweep.tasks.draft.listing import Listing, split_word

MASKS = re.compile(r"mask|label|annot|anno|truth|target|segm|(^|[_ -])(seg|gt)($|[_ -])", re.IGNORECASE)
_PAIRED = 0.5  # of the images in a folder have a mask: more, and the others are named; fewer, and it is chance


def by_masks(listing: Listing) -> Found | None:
    """Pairs of an image and a mask; None where there are none. What is told of images without a mask is a warning."""
    pairs = _beside(listing) or _together(listing)
    if pairs is None:
        return None
    layout, masks = pairs
    images = sorted(masks)
    found = Found("segmentation", layout, images, masks=[masks[image] for image in images])
    if layout["type"] == "nested_folders":
        words = {PurePosixPath(image).parts[0] for image in images}
        found.split_values = {word: side for word in sorted(words) if (side := split_word(word))}
        found.sides = [found.split_values[PurePosixPath(image).parts[0]] for image in images]
        layout["splits"] = found.split_values
    known = set(listing.pictures)
    if lacking := [image for image in images if masks[image] not in known]:
        found.warnings.append(f"{len(lacking)} images have no mask and will be left out (first: {lacking[0]})")
    if left := len(known) - len(known & {*masks, *masks.values()}):
        found.warnings.append(f"{left} images belong to no pair and are passed by")
    return found


def _beside(listing: Listing) -> tuple[dict, dict[str, str]] | None:
    """Folders side by side; those of several splits count together, the others one by one, the largest first."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}  # templates of image and mask -> folders, their parent
    for masks, images in _neighbours(listing.by_folder):
        ending = _ending(listing.by_folder[images], listing.by_folder[masks])
        if ending is not None:
            above = PurePosixPath(masks).parent
            words = PurePosixPath(images).name, f"{PurePosixPath(masks).name}/{{stem}}{ending}"
            found.setdefault(words, []).append((images, above.as_posix()))
    if not found:
        return None
    size = {words: sum(len(listing.by_folder[f]) for f, _ in folders) for words, folders in found.items()}
    words = max(found, key=lambda w: (size[w], w))
    folders = found[words]
    if len(folders) > 1 and all(split_word(parent) for _, parent in folders):
        layout = {"type": "nested_folders", "path": f"{{split}}/{words[0]}/*", "mask": f"{{parent}}/{words[1]}"}
    elif len(folders) > 1:
        layout = {"type": "image_mask_pairs", "images": f"**/{words[0]}/*", "mask": f"{{parent}}/{words[1]}"}
    else:
        parent = folders[0][1]
        mask = words[1] if parent == "." else f"{parent}/{words[1]}"
        layout = {"type": "image_mask_pairs", "images": f"{folders[0][0]}/*", "mask": mask}
    masks_of = {}
    for folder, parent in folders:
        for image in listing.by_folder[folder]:
            mask = words[1].replace("{stem}", PurePosixPath(image).stem)
            masks_of[image] = mask if parent == "." else f"{parent}/{mask}"
    return layout, masks_of


def _neighbours(by_folder: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    """Folders whose name is one of masks, each with the folders beside it that may hold its images."""
    for masks in by_folder:
        if masks == "." or not MASKS.search(PurePosixPath(masks).name):
            continue
        for images in by_folder:
            same = PurePosixPath(images).parent == PurePosixPath(masks).parent
            if images not in (".", masks) and same and not MASKS.search(PurePosixPath(images).name):
                yield masks, images


def _ending(images: list[str], masks: list[str]) -> str | None:
    """What follows an image's stem in the name of its mask, such as `.png` or `_mask.tif`; None where few have one."""
    names = {PurePosixPath(mask).name for mask in masks}
    stems = [PurePosixPath(image).stem for image in images]
    endings = {PurePosixPath(mask).suffix for mask in masks}
    first = stems[0]
    endings |= {name.removeprefix(first) for name in names if name.startswith(first)}
    counts = {ending: sum(stem + ending in names for stem in stems) for ending in endings}
    best = max(counts, key=lambda e: (counts[e], -len(e)))
    return best if counts[best] >= _PAIRED * len(stems) else None


def _together(listing: Listing) -> tuple[dict, dict[str, str]] | None:
    """Images and masks in the same folders, as `a.png` and `a_mask.png`."""
    known = set(listing.pictures)
    endings = Counter[str]()
    for path in listing.pictures:
        name = PurePosixPath(path).name
        word = re.search(r"[_-]([A-Za-z]+)\.\w+$", name)
        if word and MASKS.search(word[1]):
            endings[name[word.start() :]] += 1
    for ending, _ in endings.most_common():
        masks = {path for path in listing.pictures if path.endswith(ending)}
        images = [path for path in listing.pictures if path not in masks]
        mask_of = {image: str(PurePosixPath(image).with_name(PurePosixPath(image).stem + ending)) for image in images}
        paired = sum(mask in known for mask in mask_of.values())
        glob = _glob_without(images, ending)
        if glob and paired >= _PAIRED * len(images) and paired >= _PAIRED * len(masks):
            deep = any("/" in image for image in images)
            layout = {"type": "image_mask_pairs", "images": f"**/{glob}" if deep else glob,
                      "mask": f"{{folder}}/{{stem}}{ending}" if deep else f"{{stem}}{ending}"}  # fmt: skip
            return layout, mask_of
    return None


def _glob_without(images: list[str], ending: str) -> str | None:
    """A glob that finds the images and no mask: by the last letter of the masks' names, which no image's ends with."""
    last = PurePosixPath(f"x{ending}").stem[-1]
    suffixes = {PurePosixPath(image).suffix for image in images}
    if any(PurePosixPath(image).stem.endswith(last) for image in images):
        return None
    return f"*[!{last}]{suffixes.pop()}" if len(suffixes) == 1 else f"*[!{last}].*"
