"""What a slide's sidecars say of its tissue."""

import json
import os

import numpy as np
import pytest
import tifffile
from PIL import Image

from raysweep.errors import WorkError
from raysweep.slides import sidecars
from raysweep.slides.annotations.formats import read_annotations
from raysweep.slides.sidecars import Sidecars
from raysweep.slides.slide import Slide
from raysweep.slides.table.entries import SlideEntry
from raysweep.slides.tissue.spec import TissueSpec

from .labels.makers import write_qupath
from .slidemaker import tissue, write_slide

SHAPE = (64, 80)


@pytest.fixture(scope="module")
def slide_path(tmp_path_factory):
    return write_slide(tmp_path_factory.mktemp("slides") / "a.svs", tissue(320, 256))


def painted(*colours) -> tuple[np.ndarray, np.ndarray]:
    """A mask of squares of some colours, and where they are."""
    channels = len(colours[0])
    pixels, where = np.zeros((*SHAPE, channels), np.uint8), np.zeros(SHAPE, bool)
    for i, colour in enumerate(colours):
        pixels[10:30, 5 + 20 * i : 15 + 20 * i] = colour
        where[10:30, 5 + 20 * i : 15 + 20 * i] = True
    return pixels, where


def found(slide_path, mask) -> np.ndarray:
    entry = SlideEntry("a", str(slide_path), mask=str(mask))
    with Slide(slide_path) as slide, Sidecars.of(entry, 0) as beside:
        return beside.tissue(slide, SHAPE, TissueSpec(method="mask"))


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(
    "colours",
    [
        [(0, 255, 0)],
        [(0, 0, 1)],
        [(255, 0, 0), (0, 7, 0), (0, 0, 9), (255, 255, 255)],
    ],
)
def test_a_mask_may_be_painted_in_any_colour(tmp_path, slide_path, colours, suffix):
    pixels, where = painted(*colours)
    if suffix == "png":
        Image.fromarray(pixels).save(tmp_path / "m.png")
    else:
        tifffile.imwrite(tmp_path / "m.tif", pixels, photometric="rgb", tile=(16, 16), compression="deflate")
    np.testing.assert_array_equal(found(slide_path, tmp_path / f"m.{suffix}"), where)


def test_what_is_opaque_and_black_is_no_tissue(tmp_path, slide_path):
    pixels, where = painted((0, 255, 0))
    Image.fromarray(np.dstack([pixels, np.full(SHAPE, 255, np.uint8)])).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(found(slide_path, tmp_path / "rgba.png"), where)
    grey = np.dstack([where * np.uint8(3), np.full(SHAPE, 255, np.uint8)])
    Image.fromarray(grey, "LA").save(tmp_path / "la.png")
    np.testing.assert_array_equal(found(slide_path, tmp_path / "la.png"), where)


def test_a_grey_mask_is_read_once(tmp_path, slide_path, monkeypatch):
    _, where = painted((1,))
    Image.fromarray(where.astype(np.uint8)).save(tmp_path / "m.png")
    opened, open_ = [], Image.open
    monkeypatch.setattr(Image, "open", lambda path, *args, **keys: opened.append(path) or open_(path, *args, **keys))
    np.testing.assert_array_equal(found(slide_path, tmp_path / "m.png"), where)
    assert len(opened) == 1


def test_annotations_are_parsed_once_for_all_cuts_of_a_slide(tmp_path, slide_path, monkeypatch):
    file = tmp_path / "a.geojson"

    def draw(*corners: int) -> None:
        squares = [[[x, x], [x + 9, x], [x + 9, x + 9], [x, x + 9]] for x in corners]
        features = [{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [s]}} for s in squares]
        file.write_text(json.dumps(features))

    parsed = []
    monkeypatch.setattr(sidecars, "read_annotations", lambda path: parsed.append(path) or read_annotations(path))
    entry = SlideEntry("a", str(slide_path), annotations=str(file))
    draw(0, 50)
    for _ in range(3):
        with Slide(slide_path) as slide, Sidecars.of(entry, 0) as beside:
            assert len(beside.shapes(slide)) == 2
    assert len(parsed) == 1
    draw(0, 50, 100)
    with Slide(slide_path) as slide, Sidecars.of(entry, 0) as beside:
        assert len(beside.shapes(slide)) == 3, "a file that has changed is read again"


def test_annotations_that_lie_beside_the_slide_are_another_slides(tmp_path, slide_path):
    """They would make background of all its patches, unnoticed; a single one is an accident, and counted."""
    here, there = [[0, 0], [9, 0], [9, 9]], [[900, 0], [909, 0], [909, 9]]
    for parts, wrong in (([there, there], True), ([here, there], False), ([[]], False)):
        path = write_qupath(tmp_path / f"{len(parts)}{wrong}.json", [("a", "Polygon", [part]) for part in parts])
        entry = SlideEntry("a", str(slide_path), annotations=str(path))
        with Slide(slide_path) as slide, Sidecars.of(entry, 0) as beside:
            if wrong:
                with pytest.raises(WorkError, match=r"none of the 2 lies on the slide of 320 x 256 pixels"):
                    beside.shapes(slide)
            else:
                assert len(beside.shapes(slide)) == len(parts)


def test_a_pipe_is_not_waited_for(tmp_path, slide_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(WorkError, match=r"pipe\.json: is no file$"):
        Sidecars.of(SlideEntry("a", str(slide_path), annotations=str(tmp_path / "pipe.json")), 0).__enter__()
    os.mkfifo(tmp_path / "pipe.svs")
    with pytest.raises(WorkError, match=r"^no file, nor a folder of DICOM: .*pipe\.svs$"):
        Slide(tmp_path / "pipe.svs")
