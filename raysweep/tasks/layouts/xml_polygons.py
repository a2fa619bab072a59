"""Images beside ImageScope's XML files of outlines, as MoNuSeg has them: Annotation/Regions/Region/Vertices."""

from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np
from pydantic import Field, model_validator
from skimage.draw import polygon

from raysweep.errors import WorkError
from raysweep.tasks.card import Card
from raysweep.tasks.layouts import image_mask_pairs, layout
from raysweep.tasks.reader import Reader
from raysweep.tasks.sample import Sample


class Options(image_mask_pairs.Options):
    """As for pairs of images and masks; every region is an object of class 1."""

    images: str = Field(
        "Tissue Images/*.tif", description="glob of the images, below the root; ** goes into subfolders"
    )
    mask: str = Field(
        "Annotations/{stem}.xml", description="path of a file: {stem}, {name}, {folder}, {image} of the image"
    )

    @model_validator(mode="before")
    @classmethod
    def _one_class(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("masks", {}), dict):
            return {**data, "masks": {"instances": True, **data.get("masks", {})}}
        return data


class _XmlReader(Reader):
    """A region fills the pixels whose centres are inside its outline, pixel (row, column) reaching from (row, column)
    to (row + 1, column + 1). Where regions overlap, the later one wins; a negative one cuts out of those before it.
    Regions are numbered from 1 in the order of the file."""

    def mask(self, sample: Sample) -> np.ndarray:
        width, height = self.image(sample.image).size
        out = np.zeros((height, width), dtype=np.int32)
        for number, (negative, vertices) in enumerate(_regions(self.root / str(sample.mask)), start=1):
            if len(vertices) < 3:  # a point or a line has no inside
                continue
            xy = np.array(vertices) - 0.5
            out[polygon(xy[:, 1], xy[:, 0], out.shape)] = 0 if negative else number
        return out


def _regions(path: Path) -> list[tuple[bool, list[tuple[float, float]]]]:
    """For each region whether it is negative, and its outline as (x, y) in pixels.

    Raises WorkError for what is no XML of ImageScope. Documents that declare entities are refused: nothing in them is
    expanded, and no other file is opened.
    """
    regions: list[tuple[bool, list[tuple[float, float]]]] = []
    stack: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if not stack and name != "Annotations":
            raise WorkError(f"it is no XML of ImageScope: it starts with {name}, not with Annotations")
        stack.append(name)
        if name == "Region":
            regions.append((attributes.get("NegativeROA") == "1", []))
        elif name == "Vertex" and "Region" in stack:
            try:
                regions[-1][1].append((float(attributes["X"]), float(attributes["Y"])))
            except (KeyError, ValueError) as error:
                raise WorkError(f"a vertex of region {len(regions)} has no X and Y that are numbers") from error

    def refuse(*_: Any) -> None:
        raise WorkError("it declares a document type or entities, which annotations have no use for")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda name: stack.pop()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        raise WorkError(f"it is no XML ({error})") from error
    if not regions:
        raise WorkError("it has no Region: nothing is outlined in it")
    return regions


@layout("xml_polygons", Options, {"segmentation"}, reader=_XmlReader)
def index(options: Options, root: Path, card: Card) -> list[Sample]:
    """As for pairs of images and masks."""
    return image_mask_pairs.index(options, root, card)
