"""A table with one row per image: label or mask, unit and split in columns."""

from pathlib import Path

from pydantic import Field

from raysweep.errors import RequestError
from raysweep.model import Model
from raysweep.tasks.card import Card
from raysweep.tasks.layouts import layout
from raysweep.tasks.masks import MaskOptions
from raysweep.tasks.names import by_nfc, check_unit, class_index, inside, read_rows, split_name
from raysweep.tasks.sample import LeftOut, Sample
from raysweep.tasks.templates import columns_of, fill, template
from raysweep.tasks.where import ABOUT_GROUPS, ABOUT_WHERE, Groups, Where, groups_of, wanted
from raysweep.text_table import LINE


class Options(Model):
    """Which columns mean what. `image` and `mask` are templates over the columns, such as `images/{name}.png`."""

    file: str = Field(description="the table, below the root")
    image: str = Field("{image}", description="path of an image below the root, a template over the columns")
    mask: str | None = Field(None, description="segmentation: path of its mask, a template over the columns")
    masks: MaskOptions = MaskOptions()
    label: str | None = Field(None, description="classification: the column that names the class")
    labels: dict[str, str | None] = Field({}, description="value -> class name; null leaves the row out")
    unit: str | None = Field(None, description="the column that names the unit")
    split: str | None = Field(None, description="the column that names the split")
    splits: dict[str, str] = Field({}, description="value -> train | val | test")
    where: Where = Field({}, description=ABOUT_WHERE)
    groups: Groups = Field({}, description=ABOUT_GROUPS)

    _image = template("image")
    _mask = template("mask")


@layout("csv", Options, {"classification", "segmentation"})
def index(options: Options, root: Path, card: Card) -> list[Sample | LeftOut]:
    """Every row of the table, in its order; then the images of which `where` leaves out every row. A classification
    task looks at no mask, a segmentation task at no label.

    Raises RequestError for a missing table or column, an unknown class or split, an empty unit, a path that
    leaves the root, an image that is listed twice, or filters that leave nothing.
    """
    label_column = options.label if card.kind == "classification" else None
    mask_template = options.mask if card.kind == "segmentation" else None
    if label_column is None and mask_template is None:
        key = "label" if card.kind == "classification" else "mask"
        raise RequestError(f"card {card.name}: layout.{key}: a {card.kind} task needs it")
    if options.unit is None and card.unit != "image":
        raise RequestError(f"card {card.name}: layout.unit: name the column that holds the {card.unit}")
    named = [c for c in (label_column, options.unit, options.split) if c]
    columns = [*columns_of(options.image, mask_template or ""), *named, *options.where, *options.groups.values()]
    file = inside(options.file, f"card {card.name}: layout.file")
    rows = read_rows(root / file, card, columns)
    kept = wanted(rows, options.where, card, "layout.where")
    labels = by_nfc(options.labels)
    samples: dict[str, Sample] = {}
    left_out: dict[str, LeftOut] = {}
    for row, keep in zip(rows, kept, strict=True):
        where = f"{file} row {row[LINE]}"
        if not keep:
            image = fill(options.image, row)
            left_out[image] = LeftOut(image, fill(mask_template, row) if mask_template else None)
            continue
        label = None
        if label_column:
            value = row[label_column]
            name = labels.get(value, value)
            if name is None:
                continue
            label = class_index(card, name, where, "layout.labels")
        image = inside(fill(options.image, row), f"card {card.name}: {where}")
        mask = None
        if mask_template:
            mask = inside(fill(mask_template, row), f"card {card.name}: {where}")
        unit = row[options.unit] if options.unit else image
        if options.unit:
            check_unit(unit, options.unit, where, card)
        if image in samples:
            raise RequestError(f"card {card.name}: {where}: the image {image} is listed twice")
        split = split_name(card, row[options.split], options.splits, where) if options.split else None
        samples[image] = Sample(image, image, mask, label, unit, split, groups=groups_of(row, options.groups))
    return [*samples.values(), *(one for image, one in left_out.items() if image not in samples)]
