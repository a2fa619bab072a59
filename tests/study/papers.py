"""The papers' own studies on drawn copies of their sets: original names and folders, a few small images in each."""

import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import yaml
from PIL import Image
from timm import create_model

from raysweep.storage import shipped
from raysweep.study.load import load_study
from tests.slides.labels.makers import square, write_camelyon, write_qupath
from tests.study.kawai import write_tcga

_EDGE = 48  # pixels of an image
_SPLITS = ("train", "val", "test")


def write_dry_run(paper: str, folder: Path, keep: Iterable[str], **keys: Any) -> Path:
    """A study that extends the paper's: `keep` of its checkpoints, cards without counts, little of everything.

    keys: top-level keys that it changes; of `checkpoints` those of single ones. Returns the study file.
    """
    names = load_study(paper, ["data=."]).study.checkpoints
    changed = keys.pop("checkpoints", {})
    study = {
        "extends": paper, "name": "dry", "storage": str(folder / "runs"), "data": str(folder / "data"),
        "checkpoints": {name: changed.get(name, {}) if name in set(keep) else None for name in names},
        "compute": {"workers": 1, "threads": 1, "tile_workers": 2}, **keys,
    }  # fmt: skip
    path = folder / "dry.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


def cut_cards(folder: Path, names: Iterable[str], px: int = 32, **keys: Any) -> None:
    """Copies of shipped cards, which a study in `folder` finds first: no counts, and a network that sees `px`."""
    (folder / "datasets").mkdir(parents=True, exist_ok=True)
    for name in names:
        card = yaml.safe_load((shipped("datasets") / f"{name}.yaml").read_text())
        for key in ("n_images", "n_units", "image_px", "mpp", "at_mpp"):
            card.pop(key, None)
        (folder / "datasets" / f"{name}.yaml").write_text(yaml.safe_dump({**card, "px": px, **keys}, sort_keys=False))


def write_weights(path: Path, backbone: str = "test_resnet") -> Path:
    """Random weights as a file of published ones."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(create_model(backbone).state_dict(), path)
    return path


def picture(seed: int, label: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """An image and the numbers of its objects, of which more are dark the larger `label` is."""
    rng = np.random.default_rng(seed)
    numbers = np.zeros((_EDGE, _EDGE), np.uint8)
    for number in range(1, 3 + label):
        y, x = rng.integers(0, _EDGE - 12, 2)
        numbers[y : y + 12, x : x + 12] = number
    image = rng.integers(150, 230, (_EDGE, _EDGE, 3), np.uint8)
    image[numbers > 0] -= 100
    return image, numbers


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_kataria(data: Path) -> None:
    """GlaS, CRAG, Kumar, CPM17 and TNBC."""
    glas = "glas-contest/Warwick QU Dataset (Released 2016_07_08)"
    _pairs(data, [f"{glas}/{name}_{n}.bmp" for name, most in (("train", 8), ("testA", 3), ("testB", 1))
                  for n in range(1, most + 1)], lambda path: path.replace(".bmp", "_anno.bmp"))  # fmt: skip
    crag = [f"crag/CRAG/{folder}_{n}.png" for folder, most in (("train/Images/train", 8), ("valid/Images/test", 4))
            for n in range(1, most + 1)]  # fmt: skip
    _pairs(data, crag, lambda path: path.replace("Images", "Annotation"))
    kumar = [f"kumar/kumar/{split}/Images/TCGA-{code}-{n:04d}-01Z-00-DX1.tif" for code, (split, most) in
             enumerate((("train", 8), ("test_same", 2), ("test_diff", 2)), 18) for n in range(most)]  # fmt: skip
    cpm17 = [f"cpm17/cpm17/{split}/Images/image_{n:02d}.png" for split in ("train", "test") for n in range(8)]
    for path in [*kumar, *cpm17]:
        image, numbers = picture(zlib.crc32(path.encode()))
        save(data / path, image)
        mat = data / Path(path.replace("Images", "Labels")).with_suffix(".mat")
        mat.parent.mkdir(parents=True, exist_ok=True)
        scipy.io.savemat(mat, {"inst_map": numbers.astype(float)})
    tnbc = [f"tnbc/TNBC_NucleiSegmentation/Slide_{slide:02d}/{slide:02d}_{n}.png" for slide in range(1, 9)
            for n in (1, 2)]  # fmt: skip
    _pairs(data, tnbc, lambda path: path.replace("Slide_", "GT_"), lambda numbers: np.where(numbers, 255, 0))


def write_kawai(data: Path) -> None:
    """TCGA's slides of two organs, PCam, PCam200 and segPANDA200."""
    write_tcga(data, [(f"TCGA-AB-{n:04d}-01Z-00-DX1", ("Kidney", "Thymus")[n % 2], 0.5, (450, 450))
                      for n in range(16)])  # fmt: skip
    for split, word in zip(_SPLITS, ("train", "valid", "test"), strict=True):
        stem = data / f"pcam/camelyonpatch_level_2_split_{word}"
        stem.parent.mkdir(exist_ok=True)
        images = np.stack([picture(n, 4 * (n % 2))[0] for n in range(16)])
        for key, values in (("x", images), ("y", np.arange(16, dtype=np.uint8).reshape(-1, 1, 1, 1) % 2)):
            with h5py.File(f"{stem}_{key}.h5", "w") as file:
                file[key] = values
        rows = [f"{n},1,2,True,True,camelyon16_{word}_{n // 4}\n" for n in range(16)]
        Path(f"{stem}_meta.csv").write_text(",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi\n" + "".join(rows))
        for n in range(8):
            case, name = f"{split}{n // 2}", ("normal", "tumor")[n % 2]
            save(data / f"pcam200/{split}/{name}/{case}_{name}/{n}.jpg", picture(n, 4 * (n % 2))[0])
            image, _ = picture(n)
            save(data / f"segpanda200/{split}/{n % 6}/{case}/{n}.jpg", image)
            red = np.arange(_EDGE, dtype=np.uint8)[None].repeat(_EDGE, 0) // 8
            save(data / f"segpanda200/{split}/{n % 6}/{case}/{n}_mask.png", np.stack([red, 0 * red, 0 * red], -1))


def _pairs(
    data: Path, images: Iterable[str], mask_of: Callable[[str], str],
    values: Callable[[np.ndarray], np.ndarray] = lambda numbers: numbers,
) -> None:  # fmt: skip
    for path in images:  # no two sets have an image in common
        image, numbers = picture(zlib.crc32(path.encode()))
        save(data / path, image)
        save(data / mask_of(path), values(numbers).astype(np.uint8))


def licences(names: Iterable[str]) -> list[str]:
    """Those of them that are to be accepted."""
    cards: Mapping[str, Any] = {n: yaml.safe_load((shipped("datasets") / f"{n}.yaml").read_text()) for n in names}
    return [name for name, card in cards.items() if card["licence"].get("restricted")]


def write_mormont(data: Path, sets: Mapping[str, int]) -> None:
    """Of the pool's sets of single images so many of each, and slide tables of those that are made of slides.

    Every image of a set is the same file, another than those of other sets; classes, units and splits go in turn.
    """
    for seed, (name, most) in enumerate(sets.items()):
        card = yaml.safe_load((shipped("datasets") / f"{name}.yaml").read_text())
        size = card.get("image_px", (_EDGE, _EDGE))
        pixels = np.asarray(Image.fromarray(picture(seed)[0]).resize(size))
        first = data
        for number in range(most):
            path = data / card["root"] / _place(card, number, most)
            path.parent.mkdir(parents=True, exist_ok=True)
            if number % 50_000 == 0:  # file systems have a limit of links, ext4 65,000
                save(path, pixels)
                first = path
            else:
                path.hardlink_to(first)
    for name, spec in load_study("mormont2020_pool", [f"data={data}"]).study.patches.items():
        if spec.slides.endswith(".csv"):
            (data / name).mkdir(parents=True, exist_ok=True)
            (data / name / "slides.csv").write_text("path,mask,annotations,patient\na.tif,a.png,a.csv,1\n")
        else:
            found = spec.slides.replace("{label}", "A").replace("{patient}", "1").replace("*", "x")
            save(Path(found), np.zeros((8, 8, 3), np.uint8))


def _place(card: Mapping[str, Any], number: int, most: int) -> str:
    """Where the set has its image of that number: splits in turn, then classes, then units."""
    layout = card["layout"]
    of = {name: folder for folder, name in layout.get("folders", {}).items() if name}
    name = card["classes"][number % len(card["classes"])]
    n_units = card.get("n_units") or most
    words = {"class": of.get(name, name), "unit": f"u{number % n_units}", "split": _SPLITS[number * 3 // most]}
    *folders, file = layout["path"].format_map(words).split("/")
    suffix = Path(file).suffix or ".png"
    unit = f"CRC-Prim-HE-{number % n_units:02d}_" if "CRC" in layout.get("unit", "") else ""
    return "/".join([*(folder for folder in folders if folder != "**"), f"{unit}{number}{suffix}"])


def write_originals(data: Path) -> None:
    """What the pool's tiles are cut from: images of 96 px with their outlines, points and masks, and slide tables."""
    kinds = {"bach-micro/ICIAR2018_BACH_Challenge/Photos": ("Normal", "Benign", "InSitu", "Invasive"),
             "janowczyk7": ("CLL", "FL", "MCL")}  # fmt: skip
    for top, labels in kinds.items():
        for number in range(4 * len(labels)):
            name = f"sj-{number:02d}_001" if top == "janowczyk7" else f"b{number:03d}"
            save(data / top / labels[number % len(labels)] / f"{name}.tif", _large(number))
    for name in ("janowczyk1", "janowczyk2", "janowczyk5", "tupac16-mitosis", "mitos-atypia14", "warwick-crc",
                 "camelyon16-patches", "breast1", "breast2"):  # fmt: skip
        (data / name).mkdir(parents=True)
        rows = []
        people = "breast" if name.startswith("breast") else name  # only those two have slides in common
        for number in range(8):
            row = {"path": f"{number}.tif", "patient": f"{people}-{number}", "mask": "", "annotations": ""}
            save(data / name / row["path"], _large(number))
            if name in ("janowczyk1", "janowczyk2"):
                row["mask"] = f"{number}_mask.png"
                mask = np.zeros((96, 96), np.uint8)
                mask[:, :48] = 255
                save(data / name / row["mask"], mask)
            else:
                row["annotations"] = _annotate(data / name, name, number)
            rows.append(row)
        lines = [",".join(row.values()) for row in rows]
        (data / name / "slides.csv").write_text("\n".join([",".join(rows[0]), *lines]) + "\n")


def _large(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(140, 200, (96, 96, 3), np.uint8)
    pixels[:, :48, 1] -= 80  # tissue's colour, and darker than the right half
    pixels[..., 1] -= 30
    return pixels


def _annotate(folder: Path, name: str, number: int) -> str:
    """Marks in the left half: points, or an outline of it."""
    at = [(16 + 4 * number % 12, 20), (20, 70)]
    if name == "warwick-crc":
        scipy.io.savemat(folder / f"{number}.mat", {"detection": np.array(at, float)})
        return f"{number}.mat"
    if name == "camelyon16-patches":
        write_camelyon(folder / f"{number}.xml", [square(0, 0, 48, 96)])
        return f"{number}.xml"
    if name.startswith("breast"):
        write_qupath(folder / f"{number}.geojson", [("InSitu", "Polygon", [[*square(0, 0, 48, 96), [0, 0]]])])
        return f"{number}.geojson"
    classes = ("mitosis", "not_mitosis" if name == "mitos-atypia14" else "mitosis")
    lines = [f"{x},{y},{kind}" for (x, y), kind in zip(at, classes, strict=True)]
    (folder / f"{number}.csv").write_text("\n".join(["x,y,class", *lines]) + "\n")
    return f"{number}.csv"
