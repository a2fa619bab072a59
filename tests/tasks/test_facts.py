"""What is counted of a set, and what a contact sheet shows."""

import numpy as np
import pytest

from raysweep.tasks.contact_sheet import write_contact_sheet
from raysweep.tasks.facts import task_facts
from raysweep.tasks.task import index_task


@pytest.fixture
def glands(make_card, write_image, tmp_path):
    for number in range(16):
        write_image(tmp_path / "toy/images" / f"P{number // 2}_{number}.png", 90 + number, (40 + number % 2, 30))
        mask = np.zeros((30, 40 + number % 2), np.uint8)
        mask[5:20, 5:20] = number % 4 > 0
        write_image(tmp_path / "toy/masks" / f"P{number // 2}_{number}.png", mask)
    (tmp_path / "toy/masks/P7_15.png").write_bytes(b"")
    return make_card("segmentation", layout={"type": "image_mask_pairs", "unit": "(P[0-9]+)"}, mpp=0.5, title="A <b>",
                     splits={"type": "folds", "k": 2})  # fmt: skip


def test_facts(glands, tmp_path):
    facts = dict(task_facts(index_task(glands, tmp_path)))
    assert facts["images"] == "15"
    assert facts["size"] == "40 to 41 x 30 to 30 px, mostly 40 x 30"
    assert facts["scale"] == "0.5 um per pixel"
    assert facts["patients"] == "8"
    assert facts["class background"] == "15 images of 8 patients"
    assert facts["class gland"] == "11 images of 8 patients"
    assert facts["cannot be used"] == "1 images"
    sides = [facts[f"folds {i}"] for i in range(2)]
    assert all(int(s.split()[1].rstrip(",")) + int(s.split()[3]) == 15 for s in sides)


def test_a_contact_sheet_shows_each_class_patients_first_and_needs_nothing_else(glands, tmp_path):
    task = index_task(glands, tmp_path)
    (tmp_path / "toy/images/P0_1.png").unlink()
    count = write_contact_sheet(task, tmp_path / "sheet.html")
    page = (tmp_path / "sheet.html").read_text()
    assert count == 11
    assert page.count("<img") == 10  # and one is named as gone
    assert "P0_1.png cannot be read" in page
    assert "A &lt;b&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    captions = [part.partition("<")[0] for part in page.split("<figcaption>")[1:]]
    assert len({name.partition("_")[0] for name in captions[:8]}) == 8
    assert (tmp_path / "sheet.html").read_bytes() == page.encode()
    write_contact_sheet(task, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text() == page
