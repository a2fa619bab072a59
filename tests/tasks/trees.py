"""Tiny trees of public sets in their original layouts: the names of real files, and a few pixels in each."""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import scipy.io
from PIL import Image

PX = 12
Found = dict[str, tuple[str | set[str], str, str | None]]  # image -> class or classes shown, unit, split

_ORGANS = {
    "adrenal_gland": "adrenal_gland", "bile_liver": "liver", "liver": "liver", "bladder": "bladder", "brain": "brain",
    "breast": "breast", "cervix_uteri": "cervix_uteri", "colon": "bowel", "rectosigmoid": "bowel", "rectum": "bowel",
    "small_intestine": "bowel", "corpus_uteri": "corpus_uteri", "esophagus": "esophagus", "kidney": "kidney",
    "lung": "lung", "lymphnode": "lymph_node", "ovary": "ovary", "pancreas": "pancreas", "prostate": "prostate",
    "skin": "skin", "stomach": "stomach", "testis": "testis", "thymus": "thymus", "thyroid": "thyroid",
}  # fmt: skip
_TEXTURES = ("TUMOR", "STROMA", "COMPLEX", "LYMPHO", "DEBRIS", "MUCOSA", "ADIPOSE", "EMPTY")
_CYTOMINE = {
    "necrosis": ("healthy", "necrotic"), "proliferative-pattern": ("other", "proliferative"),
    "cell-inclusion": ("other", "inclusion"), "glomeruli": ("other", "glomerulus"),
    **{name: tuple(f"type_{i + 1}" for i in range(n))
       for name, n in (("mouse-lba", 8), ("human-lba", 9), ("lung", 10))},
}  # fmt: skip
_SPLITS = ("train", "val", "test")


def write_tree(name: str, root: Path) -> Found:
    """Write the tree of the card `name` and return what its layout finds there."""
    found, beside = _TREES[name]()
    if not name.startswith(("pcam", "pannuke")) or name == "pcam200":
        for number, path in enumerate(found):
            _picture(root / path, number)
    for path, write in beside.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        write(root / path)
    return found


def names() -> list[str]:
    """The cards that have a tree here."""
    return sorted(_TREES)


def _picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (PX, PX, 3), np.uint8)).save(path)


def _text(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def _png(values: np.ndarray) -> Callable[[Path], object]:
    return lambda path: Image.fromarray(values).save(path)


def _marks(*values: int) -> np.ndarray:
    """A mask: a stripe of each value from the left, and 0."""
    mask = np.zeros((PX, PX), np.uint8)
    for at, value in enumerate(values):
        mask[:, 2 * at : 2 * at + 1] = value
    return mask


def _classes(found: Found) -> tuple[Found, dict]:
    return found, {}


def _ptcga200() -> tuple[Found, dict]:
    found: Found = {
        f"{folder}/TCGA-{at:02d}-{at:04d}-01Z-00-DX1_17.jpg": (name, f"TCGA-{at:02d}-{at:04d}", None)
        for at, (folder, name) in enumerate(_ORGANS.items())
    }
    return found, {"thumbnail_position_map/breast.png": _png(_marks())}


def _pcam200() -> tuple[Found, dict]:
    return _classes({
        f"{split}/{name}/{split}_{name}_001/0_512.jpg": (name, f"{split}_{name}_001", split)
        for split in _SPLITS for name in ("normal", "tumor")
    })  # fmt: skip


def _segpanda200() -> tuple[Found, dict]:
    found, masks = {}, {}
    for at, split in enumerate(_SPLITS):
        for grade in (0, 5):
            stem = f"{split}/{grade}/case{at}{grade}/10_20"
            shown = {"background", "stroma", "gleason_5"} | ({"healthy", "gleason_3", "gleason_4"} if grade else set())
            found[f"{stem}.jpg"] = shown, f"case{at}{grade}", split
            red = _marks(1, 5, *((2, 3, 4) if grade else ()))
            masks[f"{stem}_mask.png"] = _png(np.stack([red, 0 * red, 0 * red], axis=-1))
    return found, masks


def _pcam() -> tuple[Found, dict]:
    found, files = {}, {}
    for at, (word, split) in enumerate((("train", "train"), ("valid", "val"), ("test", "test"))):
        stem = f"camelyonpatch_level_2_split_{word}"
        for row in range(4):
            found[f"{stem}_x.h5#{row}"] = ("normal", "tumor")[row % 2], f"camelyon16_{word}_{row // 2}", split
        images = np.random.default_rng(at).integers(0, 255, (4, PX, PX, 3), np.uint8)
        files[f"{stem}_x.h5"] = _h5("x", images)
        files[f"{stem}_y.h5"] = _h5("y", np.array([0, 1, 0, 1], np.uint8).reshape(4, 1, 1, 1))
        rows = [f"{row},1,2,True,True,camelyon16_{word}_{row // 2}\n" for row in range(4)]
        files[f"{stem}_meta.csv"] = _text(",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi\n" + "".join(rows))
    return found, files


def _h5(key: str, values: np.ndarray) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file[key] = values

    return write


def _umcm() -> tuple[Found, dict]:
    return _classes({
        f"Kather_texture_2016_image_tiles_5000/{at + 1:02d}_{name}/1A11_CRC-Prim-HE-{code}.tif_Row_601_Col_151.tif":
        (name.lower(), code[:2], None)
        for at, name in enumerate(_TEXTURES) for code in ("07_022", "10c")
    })  # fmt: skip


def _bonemarrow() -> tuple[Found, dict]:
    return _classes({
        (path := f"{split}/type_{number}/{split}{number}.png"): (f"type_{number}", path, split)
        for split in _SPLITS for number in range(1, 9)
    })  # fmt: skip


def _stroma_lbp() -> tuple[Found, dict]:
    paths = [f"test/{name}/{number}.jpg" for name in ("epithelium", "stroma") for number in range(2)]
    return _classes({path: (path.split("/")[1], path, None) for path in paths})


def _janowczyk6() -> tuple[Found, dict]:
    return _classes({
        f"{patient}/{label}/{patient}_idx5_x101_y1251_class{label}.png": (("normal", "idc")[label], patient, None)
        for patient in ("8863", "9036") for label in (0, 1)
    })  # fmt: skip


def _cytomine(name: str) -> tuple[Found, dict]:
    return _classes({f"{label}/slide{at}/{at}.png": (label, f"slide{at}", None)
                     for at, label in enumerate(_CYTOMINE[name])})  # fmt: skip


_BREAST = {  # a patient -> class, folder of the type
    "A-14-22549AB": ("benign", "adenosis"), "TA-14-4659": ("benign", "tubular_adenoma"),
    "DC-14-13412": ("malignant", "ductal_carcinoma"), "LC-14-13412": ("malignant", "lobular_carcinoma"),
}  # fmt: skip


def _breakhis(px: int) -> tuple[Found, dict]:
    found: Found = {}
    files: dict[str, Callable[[Path], object]] = {}
    sides = {fold: [] for fold in range(1, 6)}
    for at, (patient, (name, kind)) in enumerate(_BREAST.items()):
        for magnification in (40, 100, 200, 400):
            stem = f"SOB_{name[0].upper()}_{patient}"
            image = f"{stem}-{magnification}-001.png"
            folder = f"BreaKHis_v1/histology_slides/breast/{name}/SOB/{kind}/{stem.replace('-', '_', 1)}"
            path = f"{folder}/{magnification}X/{image}"
            if magnification == px:
                found[path] = name, patient, None
            else:
                files[path] = _png(np.full((PX, PX, 3), at, np.uint8))
            for fold, lines in sides.items():
                lines.append(f"{image}|{magnification}|{fold}|{'test' if (at + fold) % 2 else 'train'}\r\n")
    return found, files | {f"dsfold{fold}.txt": _text("".join(lines)) for fold, lines in sides.items()}


def _glas() -> tuple[Found, dict]:
    stems = {"train_1": "train", "train_85": "train", "testA_60": "test", "testB_20": "test"}
    folder = "Warwick QU Dataset (Released 2016_07_08)"
    found: Found = {
        (path := f"{folder}/{stem}.bmp"): ({"background", "gland"}, path, split) for stem, split in stems.items()
    }
    masks = {f"{folder}/{stem}_anno.bmp": _png(_marks(1, 2)) for stem in stems}
    return found, masks | {f"{folder}/Grade.csv": _text("name, patient ID, grade (GlaS)\ntestA_1, 5, benign\n")}


def _crag() -> tuple[Found, dict]:
    stems = {"train/{}/train_1": "train", "train/{}/train_173": "train", "valid/{}/test_40": "test"}
    found: Found = {
        (path := f"CRAG/{stem.format('Images')}.png"): ({"background", "gland"}, path, split)
        for stem, split in stems.items()
    }
    masks = {f"CRAG/{stem.format('Annotation')}.png": _png(_marks(1, 2)) for stem in stems}
    return found, masks


def _mat(**arrays: np.ndarray) -> Callable[[Path], object]:
    return lambda path: scipy.io.savemat(path, arrays)


def _kumar() -> tuple[Found, dict]:
    stems = {"train/{}/TCGA-18-5592-01Z-00-DX1": "train", "train/{}/TCGA-38-6178-01Z-00-DX1": "train",
             "test_same/{}/TCGA-21-5784-01Z-00-DX1": "test",
             "test_diff/{}/TCGA-AY-A8YK-01A-01-TS1": "test"}  # fmt: skip
    return _instances("kumar", stems, ".tif", lambda path: path.split("/")[-1][:12])


def _cpm17() -> tuple[Found, dict]:
    stems = {"train/{}/image_00": "train", "train/{}/image_31": "train", "test/{}/image_00": "test"}
    return _instances("cpm17", stems, ".png", lambda path: path)


def _instances(top: str, stems: Mapping[str, str], suffix: str, unit: Callable[[str], str]) -> tuple[Found, dict]:
    found: Found = {}
    for stem, split in stems.items():
        path = f"{top}/{stem.format('Images')}{suffix}"
        found[path] = {"background", "nucleus"}, unit(path), split
    return found, {f"{top}/{stem.format('Labels')}.mat": _mat(inst_map=_marks(1, 2).astype(float)) for stem in stems}


def _consep() -> tuple[Found, dict]:
    found, masks = {}, {}
    for stem, split in {"Train/{}/train_1": "train", "Test/{}/test_14": "test"}.items():
        path = f"CoNSeP/{stem.format('Images')}.png"
        found[path] = {"background", "other", "inflammatory", "epithelial", "spindle"}, path, split
        maps = {"inst_map": _marks(1, 2, 3, 4, 5).astype(float), "type_map": _marks(1, 2, 4, 3, 7).astype(float)}
        masks[f"CoNSeP/{stem.format('Labels')}.mat"] = _mat(**maps)
    return found, masks


_OUTLINE = (
    '<Annotations MicronsPerPixel="0.2"><Annotation Id="1"><Regions><Region Id="1"><Vertices>'
    + "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in ((1, 1), (6, 1), (6, 6), (1, 6)))
    + "</Vertices></Region></Regions></Annotation></Annotations>"
)


def _monuseg() -> tuple[Found, dict]:
    train, test = "MoNuSeg 2018 Training Data", "MoNuSegTestData"
    shown = {"background", "nucleus"}
    found: Found = {
        f"{train}/Tissue Images/TCGA-18-5592-01Z-00-DX1.tif": (shown, "TCGA-18-5592", "train"),
        f"{train}/Tissue Images/TCGA-A7-A13E-01Z-00-DX1.tif": (shown, "TCGA-A7-A13E", "train"),
        f"{test}/TCGA-2Z-A9J9-01A-01-TS1.tif": (shown, "TCGA-2Z-A9J9", "test"),
    }
    outlines = [path.replace("Tissue Images", "Annotations").replace(".tif", ".xml") for path in found]
    return found, {path: _text(_OUTLINE) for path in outlines}


def _tnbc() -> tuple[Found, dict]:
    stems = [f"{slide:02d}/{slide:02d}_{number}" for slide in (1, 2, 3, 11) for number in (1, 2)]
    top = "TNBC_NucleiSegmentation"
    found: Found = {f"{top}/Slide_{stem}.png": ({"background", "nucleus"}, stem[:2], None) for stem in stems}
    return found, {f"{top}/GT_{stem}.png": _png(_marks(255)) for stem in stems}


def _nct() -> tuple[Found, dict]:
    found: Found = {}
    for folder, split in (("NCT-CRC-HE-100K", "train"), ("CRC-VAL-HE-7K", "test")):
        for name in ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM"):
            path = f"{folder}/{name}/{name}-AAAMHQMK.tif"
            found[path] = name, path, split
    return found, {}


def _lc25000() -> tuple[Found, dict]:
    kinds = {"colon_image_sets/colon_aca": "colonca", "colon_image_sets/colon_n": "colonn",
             "lung_image_sets/lung_aca": "lungaca", "lung_image_sets/lung_n": "lungn",
             "lung_image_sets/lung_scc": "lungscc"}  # fmt: skip
    paths = [
        f"lung_colon_image_set/{folder}/{stem}{number}.jpeg" for folder, stem in kinds.items() for number in (1, 2)
    ]
    return _classes({path: (path.split("/")[2], path, None) for path in paths})


def _wilds() -> tuple[Found, dict]:
    found, rows = {}, []
    centers = {"0": "train", "1": "val", "2": "test", "3": "train", "4": "train"}
    for at, (center, split) in enumerate(centers.items()):
        for tumor in (0, 1):
            patient, node, x, y = f"{20 * at + 4:03d}", at, 3328 + tumor, 21792
            folder = f"patient_{patient}_node_{node}"
            name = f"patches/{folder}/patch_{folder}_x_{x}_y_{y}.png"
            found[name] = ("normal", "tumor")[tumor], patient, split
            rows.append(("", patient, node, x, y, tumor, at, center, 0))
    header = ("", "patient", "node", "x_coord", "y_coord", "tumor", "slide", "center", "split")
    return found, {"metadata.csv": _table(header, rows)}


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows([header, *rows])

    return write


def _pannuke() -> tuple[Found, dict]:
    found, files = {}, {}
    for fold, split in ((1, "train"), (2, "val"), (3, "test")):
        images = np.random.default_rng(fold).integers(0, 255, (2, PX, PX, 3)).astype(np.float64)
        masks = np.zeros((2, PX, PX, 6))
        for channel in range(5):
            masks[:, :, 2 * channel, channel] = 7 + channel
        masks[..., 5] = (masks[..., :5] == 0).all(axis=-1)
        files[f"Fold {fold}/images/fold{fold}/images.npy"] = lambda path, of=images: np.save(path, of)
        files[f"Fold {fold}/masks/fold{fold}/masks.npy"] = lambda path, of=masks: np.save(path, of)
        for row in range(2):
            name = f"Fold {fold}/images/fold{fold}/images.npy#{row}"
            shown = {"background", "neoplastic", "inflammatory", "connective", "dead", "epithelial"}
            found[name] = shown, name, split
    return found, files


def _mhist() -> tuple[Found, dict]:
    found, rows = {}, []
    for at, split in enumerate(("train", "test")):
        for name in ("SSA", "HP"):
            image = f"MHIST_a{at}{name.lower()}.png"
            found[f"images/{image}"] = name, f"images/{image}", split
            rows.append((image, name, 6 if name == "SSA" else 1, split))
    votes = "Number of Annotators who Selected SSA (Out of 7)"
    return found, {"annotations.csv": _table(("Image Name", "Majority Vote Label", votes, "Partition"), rows)}


_TREES: dict[str, Callable[[], tuple[Found, dict]]] = {
    "ptcga200": _ptcga200, "pcam200": _pcam200, "segpanda200": _segpanda200, "pcam": _pcam, "umcm": _umcm,
    "bonemarrow": _bonemarrow, "stroma-lbp": _stroma_lbp, "janowczyk6": _janowczyk6,
    **{name: lambda name=name: _cytomine(name) for name in _CYTOMINE},
    **{f"breakhis-{px}x": lambda px=px: _breakhis(px) for px in (40, 100, 200, 400)},
    "glas": _glas, "crag": _crag, "kumar": _kumar, "monuseg": _monuseg, "cpm17": _cpm17, "tnbc": _tnbc,
    "nct-crc-100k": _nct, "lc25000": _lc25000, "consep": _consep, "pannuke": _pannuke, "camelyon17-wilds": _wilds,
    "mhist": _mhist,
}  # fmt: skip
