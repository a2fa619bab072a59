"""Images in folders whose names say split, class and unit, at any depth: `root/split/class/case/image`.

The path is a template. PCam200 is `{split}/{class}/{unit}/*`. BreakHis at 40x, with the patient as the unit and its two
classes, is `BreaKHis_v1/histology_slides/breast/{class}/SOB/*/SOB_*_{unit}/40X/*`. SegPANDA200 is
`{split}/*/{unit}/*.jpg` with the mask `{folder}/{stem}_mask.png`.
"""

import re
from pathlib import Path, PurePosixPath

from pydantic import Field, field_validator, model_validator

from raysweep.errors import RequestError
from raysweep.model import Model
from raysweep.tasks.card import Card
from raysweep.tasks.disk import files_in, nfc, top_of
from raysweep.tasks.files import IMAGE_SUFFIXES
from raysweep.tasks.globs import literal_folder
from raysweep.tasks.layouts import layout
from raysweep.tasks.masks import MaskOptions
from raysweep.tasks.names import by_nfc, check_splits, class_index, inside, split_name, unit_from, unit_pattern
from raysweep.tasks.sample import Sample
from raysweep.tasks.templates import PATH_NAMES, columns_of, fill, path_names, template

_NAMES = ("split", "class", "unit")
_TOKENS = re.compile(r"(\{\w+\}|\*)")


class Options(Model):
    """What the folders mean."""

    path: str = Field(
        "{split}/{class}/{unit}/**",
        description="where images are: {split}, {class} and {unit} name a folder or a part of its name, * is any part "
        "of a name, ** any folders, and at the end any image below",
    )
    folders: dict[str, str | None] = Field(
        {}, description="what stands for {class} -> class name; several may mean one class, null leaves a folder out"
    )
    splits: dict[str, str] = Field({}, description="what stands for {split} -> train | val | test")
    unit: str | None = Field(None, description="regular expression on the image's path; group 1 is the unit")
    mask: str | None = Field(
        None,
        description="segmentation: path of a mask: {stem}, {name}, {folder}, {parent} (the folder above), {image} of "
        "the image, and {split}, {class}, {unit} of `path`",
    )
    masks: MaskOptions = MaskOptions()

    _unit = field_validator("unit")(unit_pattern)
    _path = template("path", _NAMES)
    _mask = template("mask", (*PATH_NAMES, *_NAMES))

    @model_validator(mode="after")
    def _said_once(self) -> "Options":
        names = re.findall(r"\{(\w+)\}", self.path)
        if len(set(names)) < len(names):
            raise ValueError("path: every name is given once")
        if self.unit and "unit" in names:
            raise ValueError("unit and {unit} in path both name the unit: keep one")
        for name in columns_of(self.mask or ""):
            if name in _NAMES and name not in names:
                raise ValueError(f"mask: {{{name}}} is no part of path")
        return self


@layout("nested_folders", Options, {"classification", "segmentation"})
def index(options: Options, root: Path, card: Card) -> list[Sample]:
    """Every image that fits the template, sorted by path; masks are no images. Units of one name are one unit,
    whatever class or split they stand under.

    Raises RequestError for a template that finds nothing, a class or split that is not known, a named split without
    an image, or an image without a unit.
    """
    named = columns_of(options.path)
    needed = "class" if card.kind == "classification" else None
    if needed and needed not in named:
        raise RequestError(f"card {card.name}: layout.path: a classification task needs {{class}} in it")
    if card.kind == "segmentation" and options.mask is None:
        raise RequestError(f"card {card.name}: layout.mask: a segmentation task needs it")
    path = inside(options.path, f"card {card.name}: layout.path")
    fits = _pattern(nfc(path))
    folders = by_nfc(options.folders)
    samples = []
    for image in sorted(files_in(root, literal_folder(path))):
        if PurePosixPath(image).suffix.lower() not in IMAGE_SUFFIXES:
            continue
        match = fits.fullmatch(nfc(image))
        if match is None:
            continue
        said = match.groupdict()
        label = None
        if needed:
            name = folders.get(said["class"], said["class"])
            if name is None:
                continue
            label = class_index(card, name, f"the folder of {image}", "layout.folders", options.folders)
        split = split_name(card, said["split"], options.splits, image) if "split" in said else None
        mask = None
        if card.kind == "segmentation":
            mask = inside(fill(str(options.mask), {**said, **path_names(image)}), f"card {card.name}: layout.mask")
        unit = said.get("unit") or unit_from(options.unit, image, card)
        samples.append(Sample(image, image, mask, label, unit, split))
    masks = {sample.mask for sample in samples}
    samples = [sample for sample in samples if sample.image not in masks]
    if not samples:
        raise RequestError(f"card {card.name}: layout.path: {options.path} fits no image below {root}; {top_of(root)}")
    check_splits(card, options.splits, samples)
    return samples


def _pattern(path: str) -> re.Pattern[str]:
    """The template as an expression on whole paths."""
    parts = path.split("/")
    out = []
    for part in parts[:-1]:
        out.append("(?:[^/]+/)*" if part == "**" else f"{_part(part)}/")
    out.append("(?:[^/]+/)*[^/]+" if parts[-1] == "**" else _part(parts[-1]))
    return re.compile("".join(out))


def _part(part: str) -> str:
    def one(token: str) -> str:
        if token == "*":
            return "[^/]*"
        return f"(?P<{token[1:-1]}>[^/]+)" if token.startswith("{") else re.escape(token)

    return "".join(one(token) for token in _TOKENS.split(part))
