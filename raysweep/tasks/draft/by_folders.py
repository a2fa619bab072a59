"""A folder for each class, perhaps below one for each split."""

from pathlib import PurePosixPath

from raysweep.tasks.draft.found import Found
from raysweep.tasks.draft.listing import Listing, split_word


def by_folders(listing: Listing) -> Found | None:
    """`[split/]class/**/image`; None where there are not two folders of classes.

    What belongs to no class (images at the top, a folder of no split beside those of splits) is named in a warning.
    """
    parts = {path: PurePosixPath(path).parts for path in listing.pictures}
    tops = sorted({names[0] for names in parts.values() if len(names) > 1})
    splits = {top: side for top in tops if (side := split_word(top))}
    if set(splits.values()) >= {"train", "test"} and any(len(names) > 2 for names in parts.values()):
        level = 1
    else:
        level, splits = 0, {}
    images = [p for p, names in parts.items() if len(names) > level + 1 and (not splits or names[0] in splits)]
    images = [p for p in images if parts[p][level][0] != "_"]  # the layout passes such folders by
    labels = [parts[path][level] for path in images]
    if len(set(labels)) < 2:
        return None
    layout = {"type": "image_folder"} | ({"splits": splits} if splits else {})
    found = Found("classification", layout, images, labels=labels)
    if splits:
        found.sides = [splits[parts[path][0]] for path in images]
        found.split_values = splits
    if left := len(listing.pictures) - len(images):
        found.warnings.append(f"{left} images stand in no folder of a class and are passed by")
    return found
