"""Small slides in the layouts and annotation formats of TCGA, Camelyon16 and PANDA."""

import csv
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from raysweep.storage import shipped
from tests.slides.labels.makers import square, write_asap, write_camelyon, write_mask
from tests.slides.slidemaker import GLASS, slide_with_tissue, tissue, write_slide

UUID = "0a1b2c3d-0000-4000-8000-000000000000"
PANDA_MPP = 0.4862
# The colour of each class of a PANDA mask: 0 background or unknown, 1 stroma, 2 healthy, 3 to 5 Gleason.
PALETTE = np.array([GLASS, (235, 175, 205), (205, 135, 180), (175, 100, 165), (150, 75, 150), (120, 50, 130)], np.int16)


def write_tcga(folder: Path, slides: Sequence[tuple[str, str, float, tuple[int, int]]]) -> Path:
    """Aperio slides below folders of their own, as the GDC's client puts them, of (barcode, label, mpp, size)."""
    rows = [("path", "label")]
    for seed, (barcode, label, mpp, size) in enumerate(slides):
        path = folder / f"{seed:08x}" / f"{barcode}.{UUID}.svs"
        path.parent.mkdir(parents=True)
        write_slide(path, tissue(*size, seed), mpp, tile=256, compression="jpeg")
        rows.append((path.relative_to(folder).as_posix(), label))
    with open(folder / "slides.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def write_camelyon16(folder: Path) -> Path:
    """Camelyon16's folders; squares of 100 px are 25 um. Tissue fills each slide of 600 x 500 but for a margin.

    normal_001, tumor_001 (three metastases, one with a hole), tumor_002 (its XML is lost), tumor_003 (its XML has a
    group of another set), and of the test slides test_001 (as tumor_001) and test_002, which is normal.
    """
    for path in ("training/normal", "training/tumor", "training/lesion_annotations"):
        (folder / path).mkdir(parents=True)
    for path in ("images", "lesion_annotations"):
        (folder / "testing" / path).mkdir(parents=True)
    kinds = {"normal": "training/normal", "tumor": "training/tumor", "test": "testing/images"}
    for seed, name in enumerate(("normal_001", "tumor_001", "tumor_002", "tumor_003", "test_001", "test_002")):
        pixels = slide_with_tissue(640, 540, (0, 0, 600, 500), seed)
        _write_pyramid(folder / kinds[name.split("_")[0]] / f"{name}.tif", pixels, 0.25)
    # Two columns and a tenth of a third; one square; and one of which a hole leaves less than a tenth.
    tumors = [square(100, 100, 310, 300), square(0, 400, 100, 500), square(400, 300, 500, 400)]
    holes = [square(400, 309, 500, 400)]
    write_camelyon(folder / "training/lesion_annotations/tumor_001.xml", tumors, holes)
    write_asap(folder / "training/lesion_annotations/tumor_003.xml", [("metastases", tumors[0])])
    write_camelyon(folder / "testing/lesion_annotations/test_001.xml", tumors, holes, test=True)
    (folder / "testing/reference.csv").write_text("test_001,Tumor,IDC,Macro\r\ntest_002,Normal,None,None\r\n")
    return folder


def write_panda(folder: Path) -> Path:
    """PANDA's folders: biopsies whose colours are their masks' classes.

    r0, r1 and r2 (of Radboud) are whole and of ISUP grade 0, the others of grade 1; r3 has no mask, that of r4 is
    another slide's and that of r5 has the value 7; k0 is Karolinska's.
    """
    (folder / "train_images").mkdir(parents=True)
    (folder / "train_label_masks").mkdir()
    lines = ["image_id,data_provider,isup_grade,gleason_score"]
    for seed, name in enumerate(("r0", "r1", "r2", "r3", "r4", "r5", "k0")):
        values = _biopsy(seed)
        noise = np.random.default_rng(seed).integers(-6, 7, (*values.shape, 1))
        pixels = (PALETTE[values] + noise).clip(0, 255).astype(np.uint8)
        _write_pyramid(folder / f"train_images/{name}.tiff", pixels, PANDA_MPP)
        if name == "r4":
            values = values[:, : values.shape[1] // 2]
        if name == "r5":
            values[200:210, 200:210] = 7
        if name != "r3":
            write_mask(folder / f"train_label_masks/{name}_mask.tiff", values)
        lines.append(f"{name},{'karolinska' if name == 'k0' else 'radboud'},{int(seed > 2)},3+4")
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    return folder


def run_recipe(study: str, folder: Path) -> None:
    """Make slides.csv by the commands in the study file's own comment."""
    comment = (shipped("studies") / f"{study}.yaml").read_text()
    found = re.search(r"^#   (\{ echo.*?> slides\.csv)$", comment, re.DOTALL | re.MULTILINE)
    assert found is not None
    script = re.sub(r"^#", "", found[1], flags=re.MULTILINE)
    subprocess.run(["bash", "-euc", script], cwd=folder, check=True)


def table(folder: Path) -> dict[str, Mapping[str, str]]:
    """The rows of slides.csv by the names of their slides."""
    with open(folder / "slides.csv", newline="") as file:
        return {Path(row["path"]).stem: row for row in csv.DictReader(file)}


def _biopsy(seed: int) -> np.ndarray:
    """The classes of a biopsy, uint8 (560, 830): strips of tissue of 1 to 5 in blocks, an unknown block among them."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(1, 6, (8, 11)).repeat(71, 0).repeat(83, 1)
    values = np.zeros((560, 830), np.uint8)
    values[60:510, 40:790] = blocks[60:510, 40:790]
    values[150:190, 300:420] = 0
    return values


def _write_pyramid(path: Path, pixels: np.ndarray, mpp: float) -> None:
    """A pyramid of JPEG tiles that tells its scale by the resolution tags, as ASAP writes it."""
    kind = {"photometric": "ycbcr", "subsampling": (2, 2), "compression": "jpeg", "compressionargs": {"level": 92}}
    with tifffile.TiffWriter(path) as tiff:
        for down in (1, 4):
            level = Image.fromarray(pixels).reduce(down).convert("YCbCr")  # tifffile takes it as it is
            per_cm = 1e4 / (mpp * down)
            tiff.write(np.asarray(level), resolution=(per_cm, per_cm), resolutionunit="CENTIMETER", tile=(128, 128),
                       subfiletype=int(down > 1), metadata=None, **kind)  # fmt: skip
