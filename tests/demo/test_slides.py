"""Drawn slides: OpenSlide takes them for an Aperio scanner's, and the table describes them."""

import csv
from pathlib import Path

import numpy as np
import openslide
import pytest

from raysweep.demo import slides
from raysweep.demo.draw import KINDS


@pytest.fixture(scope="module", autouse=True)
def small():
    """A sixteenth of the area: the same code, quickly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slides, "_SHAPE", (384, 512))
        yield


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slides.write_slides(tmp_path_factory.mktemp("demo") / "slides", n=8, seed=0)


def rows(table: Path) -> list[dict[str, str]]:
    with open(table, newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_names_every_slide_once(table: Path) -> None:
    found = rows(table)
    assert list(found[0]) == ["slide", "path", "patient", "label"]
    assert len({row["slide"] for row in found}) == 8
    assert all((table.parent / row["path"]).is_file() for row in found)


def test_kinds_and_patients_are_crossed(table: Path) -> None:
    found = rows(table)
    for kind in KINDS:
        assert len({row["patient"] for row in found if row["label"] == kind}) == 2
    for patient in {row["patient"] for row in found}:
        assert len({row["label"] for row in found if row["patient"] == patient}) == 2
    kinds = {kind: {row["patient"] for row in found if row["label"] == kind} for kind in KINDS}
    assert len({frozenset(patients) for patients in kinds.values()}) == len(KINDS)


def test_openslide_reads_an_aperio_pyramid(table: Path) -> None:
    with openslide.OpenSlide(table.parent / "demo-01.svs") as slide:
        assert slide.properties[openslide.PROPERTY_NAME_VENDOR] == "aperio"
        assert float(slide.properties[openslide.PROPERTY_NAME_MPP_X]) == 0.5
        assert float(slide.properties[openslide.PROPERTY_NAME_MPP_Y]) == 0.5
        assert slide.level_dimensions == ((512, 384), (128, 96))
        assert slide.level_downsamples == (1, 4)
        assert "thumbnail" in slide.associated_images
        fine = np.asarray(slide.read_region((0, 0), 0, (512, 384)).convert("RGB")).astype(float)
        coarse = np.asarray(slide.read_region((0, 0), 1, (128, 96)).convert("RGB")).astype(float)
    reduced = fine.reshape(96, 4, 128, 4, 3).mean(axis=(1, 3))
    assert np.abs(reduced - coarse).mean() < 4  # the levels show the same


def test_the_colours_survive_the_file(table: Path) -> None:
    drawn = slides._draw_slide("gland", "demo-01", "S01", 0)
    with openslide.OpenSlide(table.parent / "demo-01.svs") as slide:
        stored = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))
    assert np.abs(stored.reshape(-1, 3).mean(axis=0) - drawn.reshape(-1, 3).mean(axis=0)).max() < 1
    assert np.abs(stored.astype(int) - drawn).mean() < 8


def test_tissue_lies_on_glass(table: Path) -> None:
    for path in sorted(table.parent.glob("*.svs")):
        with openslide.OpenSlide(path) as slide:
            picture = np.asarray(slide.read_region((0, 0), 1, slide.level_dimensions[1]).convert("RGB")).astype(int)
        coloured = (picture.max(axis=-1) - picture.min(axis=-1)) > 20
        assert 0.25 < coloured.mean() < 0.85
        border = np.concatenate([coloured[0], coloured[-1], coloured[:, 0], coloured[:, -1]])
        assert border.mean() < 0.05


def test_the_same_seed_gives_the_same_bytes_and_a_second_call_writes_nothing(table: Path, tmp_path: Path) -> None:
    again = slides.write_slides(tmp_path / "slides", n=2, seed=0)
    first = again.parent / "demo-01.svs"
    assert first.read_bytes() == (table.parent / "demo-01.svs").read_bytes()
    before = first.stat()
    assert slides.write_slides(tmp_path / "slides", n=2, seed=0) == again
    assert first.stat() == before
    slides.write_slides(tmp_path / "slides", n=2, seed=1)
    assert first.read_bytes() != (table.parent / "demo-01.svs").read_bytes()
