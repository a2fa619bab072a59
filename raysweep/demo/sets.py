"""Generated labelled sets: which kind of tissue is it, and where are the glands?"""

import csv
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from raysweep.demo.draw import Drawing, draw_tissue
from raysweep.demo.once import make_once
from raysweep.demo.paint import stain_of
from raysweep.randomness import generator
from raysweep.tasks.cards import load_card

_FORMAT = 1  # raise it when the same seed gives other pictures
_PX, _MPP = 64, 1.0  # of the stored images; the cards demo-tissue and demo-glands say the same
_PATIENTS = {"train": 32, "test": 24}
_LEAST_GLAND, _MOST_GLAND = 0.15, 0.85  # part of an image of glandular tissue that glands cover
_GLAND_IMAGES = {"train": 3, "test": 2}  # of each patient


def write_sets(folder: Path, *, seed: int) -> None:
    """Write the two labelled sets, 64 pixel PNGs at 1.0 um, into `demo-tissue` and `demo-glands` below the folder.

    demo-tissue: images/, labels.csv with the columns image, label, patient, split: one image of each of the card's
    classes for each of 32 training and 24 test patients. demo-glands: images/, masks/ (1: epithelium or lumen of a
    gland), samples.csv with image, patient, split. No patient is in both sets or has a slide. What was completed
    before with the same seed is left as it is. Raises RequestError when a folder holds something else.
    """
    kinds = load_card("demo-tissue", []).classes
    tissue = {"what": "tissue", "format": _FORMAT, "kinds": kinds, "seed": seed}
    glands = {"what": "glands", "format": _FORMAT, "seed": seed}
    make_once(folder / "demo-tissue", tissue, partial(_write_tissue, kinds=kinds, seed=seed))
    make_once(folder / "demo-glands", glands, partial(_write_glands, seed=seed))


def _patients(prefix: str) -> list[tuple[str, str]]:
    """(patient, split) of everyone in a set."""
    splits = [split for split, count in _PATIENTS.items() for _ in range(count)]
    return [(f"{prefix}{i + 1:02d}", split) for i, split in enumerate(splits)]


def _write_tissue(target: Path, kinds: list[str], seed: int) -> None:
    (target / "images").mkdir()
    rows = []
    for patient, split in _patients("T"):
        for number, kind in enumerate(generator(seed, "order", patient).permutation(kinds)):
            name = f"images/{patient}-{number + 1}.png"  # says nothing of the kind
            Image.fromarray(_draw(str(kind), patient, number, seed).rgb).save(target / name)
            rows.append({"image": name, "label": str(kind), "patient": patient, "split": split})
    _write_rows(target / "labels.csv", rows)


def _write_glands(target: Path, seed: int) -> None:
    (target / "images").mkdir()
    (target / "masks").mkdir()
    rows = []
    for patient, split in _patients("G"):
        for number in range(_GLAND_IMAGES[split]):
            drawing, name = _draw("gland", patient, number, seed), f"{patient}-{number + 1}.png"
            Image.fromarray(drawing.rgb).save(target / "images" / name)
            Image.fromarray(drawing.glands.astype(np.uint8)).save(target / "masks" / name)
            rows.append({"image": f"images/{name}", "patient": patient, "split": split})
    _write_rows(target / "samples.csv", rows)


def _draw(kind: str, patient: str, number: int, seed: int) -> Drawing:
    """One image of a patient. Drawn at twice the resolution and reduced, as patches of the slides are."""
    rng, stain = generator(seed, "image", patient, number), stain_of(seed, patient)
    while True:
        fine = draw_tissue(kind, (2 * _PX, 2 * _PX), _MPP / 2, stain, rng)
        if kind != "gland" or _LEAST_GLAND <= fine.glands.mean() <= _MOST_GLAND:
            break
    blocks = fine.rgb.reshape(_PX, 2, _PX, 2, 3).mean(axis=(1, 3))
    glands = fine.glands.reshape(_PX, 2, _PX, 2).mean(axis=(1, 3)) >= 0.5
    return Drawing(np.round(blocks).astype(np.uint8), glands)


def _write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
