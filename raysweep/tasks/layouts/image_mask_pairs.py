"""Images and masks in parallel folders; units from the file names or from a table."""

import re
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from raysweep.errors import RequestError
from raysweep.model import Model
from raysweep.tasks.card import Card
from raysweep.tasks.disk import Disk, files_below, nfc
from raysweep.tasks.files import IMAGE_SUFFIXES
from raysweep.tasks.globs import glob_matcher, literal_folder
from raysweep.tasks.layouts import layout
from raysweep.tasks.masks import MaskOptions
from raysweep.tasks.names import inside, read_rows, split_name, unit_from, unit_pattern
from raysweep.tasks.sample import Sample
from raysweep.tasks.templates import fill, template

_NAMES = ("image", "folder", "name", "stem")


class Table(Model):
    """A table that names the unit, and the split, of every image."""

    file: str = Field(description="the table, below the root")
    column: str = Field("image", description="the column that names the image")
    image: str = Field(
        "{image}", description="what that column holds: {image} the path below the root, {name} or {stem} of the file"
    )
    unit: str | None = Field(None, description="the column that names the unit")
    split: str | None = Field(None, description="the column that names the split")
    splits: dict[str, str] = Field({}, description="value -> train | val | test")

    _image = template("image", _NAMES)


class Options(Model):
    """Where the pairs are, and what their names mean."""

    images: str = Field(
        "images/*.png",
        description="glob of the images, below the root; ** goes into subfolders; *.png finds .PNG",
    )
    mask: str = Field("masks/{stem}.png", description="path of a mask: {stem}, {name}, {folder}, {image} of the image")
    masks: MaskOptions = MaskOptions()
    unit: str | None = Field(None, description="regular expression on the image's path; group 1 is the unit")
    table: Table | None = None

    _unit = field_validator("unit")(unit_pattern)
    _mask = template("mask", _NAMES)

    @model_validator(mode="after")
    def _one_unit(self) -> "Options":
        if self.unit and self.table and self.table.unit:
            raise ValueError("unit and table.unit both name the unit: keep one")
        return self


@layout("image_mask_pairs", Options, {"segmentation"})
def index(options: Options, root: Path, card: Card) -> list[Sample]:
    """Every image that the glob finds, sorted by path, with the mask that the template names.

    What tools leave (`left_by_tools`) is not found, but in folders that the glob names without a wildcard.
    A table may list more images than the glob finds. Raises RequestError for a glob that finds nothing, an image
    that the table does not list, an unknown split, or an image without a unit.
    """
    glob = inside(options.images, f"card {card.name}: layout.images")
    images = _find(glob, root, card)
    pattern = re.compile(nfc(options.unit)) if options.unit else None
    rows = _rows(options.table, root, card)
    samples = []
    for image in images:
        path = Path(image)
        names = {"image": image, "folder": path.parent.as_posix(), "name": path.name, "stem": path.stem}
        mask = inside(fill(options.mask, names), f"card {card.name}: layout.mask")
        unit, split = None, None
        if options.table:
            key = fill(options.table.image, names)
            row = rows.get(nfc(key))
            if row is None:
                raise RequestError(f"card {card.name}: {options.table.file} has no row for {key} ({image})")
            if options.table.unit:
                unit = row[options.table.unit]
                if not unit:
                    raise RequestError(
                        f"card {card.name}: {options.table.file}: {key} has an empty {options.table.unit}"
                    )
            if options.table.split:
                where = f"{options.table.file}: {key}"
                split = split_name(card, row[options.table.split], options.table.splits, where)
        samples.append(Sample(image, image, mask, None, unit or unit_from(pattern, image, card), split))
    return samples


def _find(glob: str, root: Path, card: Card) -> list[str]:
    """The images of a glob below the root, sorted."""
    matches, below = glob_matcher(glob), Disk(root).find(literal_folder(glob))
    found = [path for path, _ in files_below(root, below) if matches(path)] if (root / below).is_dir() else []
    images = sorted(path for path in found if Path(path).suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        other = f"; {len(found)} files match, none of a type that is read: {', '.join(sorted(IMAGE_SUFFIXES))}"
        raise RequestError(
            f"card {card.name}: layout.images: {glob} finds no image below {root}{other if found else ''}"
        )
    return images


def _rows(table: Table | None, root: Path, card: Card) -> dict[str, dict[str, str]]:
    if table is None:
        return {}
    file = inside(table.file, f"card {card.name}: layout.table.file")
    columns = [column for column in (table.column, table.unit, table.split) if column]
    rows: dict[str, dict[str, str]] = {}
    for row in read_rows(root / file, card, columns):
        key = row[table.column]
        if key in rows:
            raise RequestError(f"card {card.name}: {file}: the image {key} is listed twice")
        rows[key] = row
    return rows
