"""Images in one folder per class: `root[/split]/class/**/image`."""

from pathlib import Path

from pydantic import Field, field_validator

from raysweep.errors import RequestError
from raysweep.leftovers import left_by_tools
from raysweep.model import Model
from raysweep.tasks.card import Card
from raysweep.tasks.disk import Disk, files_below, nfc, top_of
from raysweep.tasks.files import IMAGE_SUFFIXES
from raysweep.tasks.layouts import layout
from raysweep.tasks.names import by_nfc, check_splits, class_index, unit_from, unit_pattern
from raysweep.tasks.sample import Sample


class Options(Model):
    """What the folders mean."""

    folders: dict[str, str | None] = Field(
        {}, description="class folder -> class name; several may mean one class, null leaves a folder out"
    )
    splits: dict[str, str] = Field({}, description="split folder -> train | val | test; none: no split folders")
    unit: str | None = Field(None, description="regular expression on the image's path; group 1 is the unit")

    _unit = field_validator("unit")(unit_pattern)


@layout("image_folder", Options, {"classification"})
def index(options: Options, root: Path, card: Card) -> list[Sample]:
    """Every image below a class folder, sorted by path, but for what tools leave there (`left_by_tools`).

    Raises RequestError for a missing split folder, one without an image, a class folder of no known class, or a path
    without a unit, and where there is no image at all.
    """
    tops: list[tuple[Path, str | None]] = [(root, None)]
    if options.splits:
        disk = Disk(root)
        tops = [(root / disk.find(name), split) for name, split in options.splits.items()]
    folders = by_nfc(options.folders)
    samples = []
    for top, split in tops:
        if not top.is_dir():
            raise RequestError(f"card {card.name}: layout.splits: the folder {top} does not exist; {top_of(root)}")
        for folder in sorted(path for path in top.iterdir() if path.is_dir()):
            if left_by_tools(folder.name) or folder.name[0] == "_":
                continue
            name = folders.get(nfc(folder.name), folder.name)
            if name is None:
                continue
            label = class_index(card, name, f"folder {folder}", "layout.folders", options.folders)
            for image, _ in files_below(root, folder.relative_to(root).as_posix()):
                if image[image.rfind(".") :].lower() in IMAGE_SUFFIXES:
                    unit = unit_from(options.unit, image, card)
                    samples.append(Sample(image, image, None, label, unit, split))
    if not samples:
        raise RequestError(
            f"card {card.name}: layout: no class folder below {root} has an image of a type that is read; "
            f"{top_of(root)}"
        )
    check_splits(card, options.splits, samples)
    return sorted(samples, key=lambda sample: sample.image)
