"""Images beside ImageScope's XML files of outlines (Annotation/Regions/Region/Vertices), as MoNuSeg and MoNuSAC have.

MoNuSAC stands in a folder per slide, and an annotation is named as the class of its regions: `images: "*/*.tif"`,
`mask: "{folder}/{stem}.xml"`, `unit: "(TCGA-..-....)"`, `names: {Epithelial: 1, Lymphocyte: 2, Macrophage: 3,
Neutrophil: 4, Ambiguous: 255}` with `masks: {ignore: 255}`.
"""

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np
from pydantic import Field, field_validator, model_validator
from skimage.draw import polygon

from raysweep.bounds import check_room
from raysweep.errors import WorkError
from raysweep.tasks.card import Card
from raysweep.tasks.layouts import image_mask_pairs, layout
from raysweep.tasks.reader import Reader
from raysweep.tasks.sample import LeftOut, Sample


class Options(image_mask_pairs.Options):
    """As for pairs of images and masks. Without `names` every region is an object of class 1."""

    images: str = Field(
        "Tissue Images/*.tif", description="glob of the images, below the root; ** goes into subfolders"
    )
    mask: str | list[str] = Field(
        "Annotations/{stem}.xml",
        description="path of a file: {stem}, {name}, {folder}, {parent} (the folder above), {image} of the image; of "
        "several the first where there is a file",
    )
    names: dict[str, int | None] = Field(
        {},
        description="name of an annotation -> the pixel value of its regions, which masks gives a meaning to (without "
        "masks.values: the number of the class); null leaves its regions out",
    )

    @field_validator("names")
    @classmethod
    def _values(cls, value: dict[str, int | None]) -> dict[str, int | None]:
        for name, number in value.items():
            if number is not None and not 0 < number < 2**16:
                raise ValueError(f"{name}: {number}: pixel values of regions are at least 1, at most {2**16 - 1}")
        return value

    @model_validator(mode="before")
    @classmethod
    def _one_class(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("names") and isinstance(data.get("masks", {}), dict):
            return {**data, "masks": {"instances": True, **data.get("masks", {})}}
        return data


_ELEMENT = 300  # bytes that Python needs, at most, for each < of an XML


@dataclass
class _Region:
    """An outline as (x, y) in pixels, and the name of the annotation that it is part of."""

    name: str
    negative: bool
    vertices: list[tuple[float, float]] = field(default_factory=list)


class _XmlReader(Reader):
    """A region fills the pixels whose centres are inside its outline, pixel (row, column) reaching from (row, column)
    to (row + 1, column + 1). Where regions overlap, the later one wins; a negative one cuts out of those before it.
    Regions are numbered from 1 in the order of the file."""

    @property
    def numbered(self) -> bool:
        return True

    def mask(self, sample: Sample) -> np.ndarray:
        return self._drawn(sample, named=bool(self.options.names))

    def instances(self, sample: Sample) -> np.ndarray:
        return self._drawn(sample, named=False)

    def inputs(self) -> dict[str, Any]:
        return {"names": self.options.names} if self.options.names else {}

    def _drawn(self, sample: Sample, named: bool) -> np.ndarray:
        """Regions with the values that their names stand for, or with their numbers."""
        width, height = self.image(sample.image).size
        out = np.zeros((height, width), dtype=np.int32)
        for number, region in enumerate(_regions(self.root / str(sample.mask)), start=1):
            value = self._value(region) if self.options.names else number
            if value is None or len(region.vertices) < 3:  # a point or a line has no inside
                continue
            xy = np.array(region.vertices) - 0.5
            shown = value if named else number
            out[polygon(xy[:, 1], xy[:, 0], out.shape)] = 0 if region.negative else shown
        return out

    def _value(self, region: _Region) -> int | None:
        names = self.options.names
        if region.name not in names:
            near = difflib.get_close_matches(region.name, names, n=1)
            hint = f" (nearest: {near[0]})" if near else ""
            raise WorkError(f"an annotation is named {region.name!r}{hint}; give it a number, or null, in layout.names")
        return names[region.name]


def _regions(path: Path) -> list[_Region]:
    """The regions in their order. An annotation is named by its first attribute, where ImageScope's users write what it
    is, else by its own Name.

    Raises WorkError for what is no XML of ImageScope. Documents that declare entities are refused: nothing in them is
    expanded, and no other file is opened.
    """
    regions: list[_Region] = []
    stack: list[str] = []
    name, attribute = "", ""

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal name, attribute
        if not stack and tag != "Annotations":
            raise WorkError(f"it is no XML of ImageScope: it starts with {tag}, not with Annotations")
        if tag == "Annotation":
            name, attribute = attributes.get("Name", "").strip(), ""
        elif tag == "Attribute" and stack[-2:] == ["Annotation", "Attributes"]:
            attribute = attribute or attributes.get("Name", "").strip()
        elif tag == "Region":
            regions.append(_Region(attribute or name, attributes.get("NegativeROA") == "1"))
        elif tag == "Vertex" and "Region" in stack:
            try:
                regions[-1].vertices.append((float(attributes["X"]), float(attributes["Y"])))
            except (KeyError, ValueError) as error:
                raise WorkError(f"a vertex of region {len(regions)} has no X and Y that are numbers") from error
        stack.append(tag)

    def refuse(*_: Any) -> None:
        raise WorkError("it declares a document type or entities, which annotations have no use for")

    text = path.read_bytes()
    check_room(len(text) + _ELEMENT * text.count(b"<"), path.name)
    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda tag: stack.pop()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise WorkError(f"it is no XML ({error})") from error
    if not regions:
        raise WorkError("it has no Region: nothing is outlined in it")
    return regions


@layout("xml_polygons", Options, {"segmentation"}, reader=_XmlReader)
def index(options: Options, root: Path, card: Card) -> list[Sample | LeftOut]:
    """As for pairs of images and masks."""
    return image_mask_pairs.index(options, root, card)
