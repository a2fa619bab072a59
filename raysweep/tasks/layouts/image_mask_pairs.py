"""Images and masks in parallel folders; units from the file names or from a table."""

from pathlib import Path

from pydantic import Field, field_validator, model_validator

from raysweep.errors import RequestError
from raysweep.model import Model
from raysweep.tasks.card import Card
from raysweep.tasks.disk import Disk, files_in, nfc, top_of
from raysweep.tasks.files import IMAGE_SUFFIXES
from raysweep.tasks.globs import glob_matcher, literal_folder
from raysweep.tasks.layouts import layout
from raysweep.tasks.masks import MaskOptions
from raysweep.tasks.names import (
    check_splits,
    check_unit,
    inside,
    part_of,
    read_rows,
    split_name,
    unit_from,
    unit_pattern,
)
from raysweep.tasks.sample import LeftOut, Sample
from raysweep.tasks.templates import PATH_NAMES, fill, path_names, template
from raysweep.tasks.where import ABOUT_GROUPS, ABOUT_WHERE, Groups, Where, groups_of, wanted


class Table(Model):
    """A table of every image: its unit, its split, and what filters ask for."""

    file: str = Field(description="the table, below the root")
    column: str = Field("image", description="the column that names the image")
    image: str = Field(
        "{image}", description="what that column holds: {image} the path below the root, {name} or {stem} of the file"
    )
    unit: str | None = Field(None, description="the column that names the unit")
    split: str | None = Field(None, description="the column that names the split")
    splits: dict[str, str] = Field({}, description="value -> train | val | test")
    where: Where = Field({}, description=ABOUT_WHERE)
    groups: Groups = Field({}, description=ABOUT_GROUPS)

    _image = template("image", PATH_NAMES)


class Options(Model):
    """Where the pairs are, and what their names mean."""

    images: str = Field(
        "images/*.png",
        description="glob of the images, below the root; ** goes into subfolders; *.png finds .PNG",
    )
    mask: str | list[str] = Field(
        "masks/{stem}.png",
        description="path of a mask: {stem}, {name}, {folder}, {parent} (the folder above), {image} of the image; of "
        "several the first where there is a file",
    )
    masks: MaskOptions = MaskOptions()
    unit: str | None = Field(None, description="regular expression on the image's path; group 1 is the unit")
    split: str | None = Field(None, description="regular expression on the image's path; group 1 is the split's word")
    splits: dict[str, str] = Field({}, description="with `split`: word -> train | val | test")
    table: Table | None = None

    _patterns = field_validator("unit", "split")(unit_pattern)
    _mask = template("mask", PATH_NAMES)

    @model_validator(mode="after")
    def _one_unit(self) -> "Options":
        if self.unit and self.table and self.table.unit:
            raise ValueError("unit and table.unit both name the unit: keep one")
        if self.split and self.table and self.table.split:
            raise ValueError("split and table.split both name the split: keep one")
        return self


@layout("image_mask_pairs", Options, {"segmentation"})
def index(options: Options, root: Path, card: Card) -> list[Sample | LeftOut]:
    """Every image that the glob finds, sorted by path, with the mask that the template names, and which of them the
    table's filters leave out.

    What tools leave (`left_by_tools`) is not found, but in folders that the glob names without a wildcard.
    A table may list more images than the glob finds. Raises RequestError for a glob that finds nothing, an image
    that the table does not list, an unknown split, a named split without an image, an image without a unit, or filters
    that leave none.
    """
    glob = inside(options.images, f"card {card.name}: layout.images")
    images = _find(glob, root, card)
    rows = _rows(options.table, root, card)
    disk = Disk(root)
    found: list[Sample | LeftOut] = []
    for image in images:
        names = path_names(image)
        mask = _mask_of(options.mask, names, disk, card)
        unit, split = None, None
        groups: tuple[tuple[str, str], ...] = ()
        if options.split:
            split = split_name(card, part_of(options.split, image, card, "split"), options.splits, image)
        if options.table:
            key = fill(options.table.image, names)
            listed = rows.get(nfc(key))
            if listed is None:
                raise RequestError(f"card {card.name}: {options.table.file} has no row for {key} ({image})")
            row, kept = listed
            if not kept:
                found.append(LeftOut(image, mask))
                continue
            if options.table.unit:
                unit = row[options.table.unit]
                check_unit(unit, options.table.unit, f"{options.table.file}: {key}", card)
            if options.table.split:
                where = f"{options.table.file}: {key}"
                split = split_name(card, row[options.table.split], options.table.splits, where)
            groups = groups_of(row, options.table.groups)
        unit = unit or unit_from(options.unit, image, card)
        found.append(Sample(image, image, mask, None, unit, split, groups=groups))
    check_splits(card, options.splits, found)
    if all(isinstance(one, LeftOut) for one in found):
        raise RequestError(f"card {card.name}: layout.table.where: no image of {glob} is in a row with these values")
    return found


def _mask_of(masks: str | list[str], names: dict[str, str], disk: Disk, card: Card) -> str:
    """The mask of an image; of several templates the first that names a file, else the first."""
    templates = [masks] if isinstance(masks, str) else masks
    paths = [inside(fill(one, names), f"card {card.name}: layout.mask") for one in templates]
    if len(paths) == 1:
        return paths[0]
    return next((path for path in paths if disk.has(path)), paths[0])


def _find(glob: str, root: Path, card: Card) -> list[str]:
    """The images of a glob below the root, sorted."""
    matches = glob_matcher(glob)
    found = [path for path in files_in(root, literal_folder(glob)) if matches(path)]
    images = sorted(path for path in found if Path(path).suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        other = f"; {len(found)} files match, none of a type that is read: {', '.join(sorted(IMAGE_SUFFIXES))}"
        raise RequestError(
            f"card {card.name}: layout.images: {glob} finds no image below {root}{other if found else ''}; "
            f"{top_of(root)}"
        )
    return images


def _rows(table: Table | None, root: Path, card: Card) -> dict[str, tuple[dict[str, str], bool]]:
    """The row of each image that the table lists, and whether it is wanted."""
    if table is None:
        return {}
    file = inside(table.file, f"card {card.name}: layout.table.file")
    named = (table.column, table.unit, table.split, *table.where, *table.groups.values())
    columns = [column for column in named if column]
    listed = read_rows(root / file, card, columns)
    kept = wanted(listed, table.where, card, "layout.table.where")
    rows: dict[str, tuple[dict[str, str], bool]] = {}
    for row, keep in zip(listed, kept, strict=True):
        key = row[table.column]
        other = key in rows and rows[key][1]
        if other and keep:
            raise RequestError(f"card {card.name}: {file}: the image {key} is listed twice")
        if not other:
            rows[key] = row, keep
    return rows
