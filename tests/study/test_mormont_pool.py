"""The patch sets of Mormont et al. 2020, on images of the original sizes in the layouts of the archives."""

import re
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from raysweep.progress import Progress
from raysweep.slides.labels.classes import classes_of
from raysweep.slides.sidecars import Sidecars
from raysweep.slides.slide import Slide
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.survey import survey
from raysweep.slides.table.entries import SlideEntry, read_slides
from raysweep.storage import shipped
from raysweep.study.load import load_study
from raysweep.study.run import run_study
from raysweep.tasks.cards import load_card
from raysweep.tasks.task import index_task
from tests.slides.labels.makers import square, write_camelyon, write_qupath
from tests.study.kawai import _write_pyramid

POOL = "mormont2020_pool"
ATYPIA = "mitos_atypia_2014_training_aperio/A03"


def specs(data: Path) -> dict[str, PatchSetSpec]:
    return load_study(POOL, [f"data={data}"]).study.patches


def looked_at(spec: PatchSetSpec, entry: SlideEntry, classes: list[str]) -> Counter:
    """How many patches of each class a slide gives; all under None where the slide itself has the label."""
    with (
        Sidecars.of(entry, 0) as sidecars,
        Slide(sidecars.path, entry.mpp, spec.reader, fallback_mpp=spec.slide_mpp) as slide,
    ):
        found = survey(slide, sidecars, spec, classes, 0, cut_mpx=64)
    assert found.reason is None or found.reason == ""
    labels = [label for cut in found.cuts for label in cut.label.tolist()]
    return Counter(classes[label] if label >= 0 else None for label in labels)


def blank(path: Path, width: int, height: int, value: int = 255) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (value, value, value)).save(path)
    return path


def run_recipe(name: str, folder: Path) -> None:
    """Make slides.csv by the commands in the study file's comment for this set."""
    comment = (shipped("studies") / f"{POOL}.yaml").read_text()
    found = re.search(rf"^#   {name}\b.*?^#   (\{{ echo.*?> slides\.csv)$", comment, re.DOTALL | re.MULTILINE)
    assert found is not None
    subprocess.run(["bash", "-euc", re.sub(r"^#", "", found[1], flags=re.MULTILINE)], cwd=folder, check=True)


@pytest.mark.parametrize(
    ("name", "suffix", "size", "each", "images"),
    [
        ("bach-micro", ".tif", (2048, 1536), 12, 400),
        ("janowczyk7", ".tif", (1388, 1040), 6, 374),
        ("warwick-crc", ".bmp", (500, 500), 25, 100),
        ("janowczyk1", ".tif", (2000, 2000), 225, 141),
        ("janowczyk2", ".tif", (1000, 1000), 81, 42),
        ("janowczyk5", ".tif", (2000, 2000), 64, 311),
    ],
)
def test_empty_images_give_the_numbers_of_the_table(tmp_path, name, suffix, size, each, images):
    spec = specs(tmp_path)[name]
    path = blank(tmp_path / f"a{suffix}", *size)
    labels = spec.labels.model_copy(update={"absent": "background"})
    mask = None
    if labels.source == "mask":
        mask = str(tmp_path / "mask.png")
        Image.new("L", size).save(mask)
    classes = classes_of(labels, ["any"])
    spec = spec.model_copy(update={"labels": labels})
    found = looked_at(spec, SlideEntry("a", str(path), mask=mask), classes)
    assert found == {(None if labels.source == "slide" else labels.background): each}
    card = load_card(name, [])
    if card.n_images is not None:
        assert card.n_images == each * images
    else:  # ten patches for each of 550 mitoses, in 534 squares of their own
        assert each * images - 534 + 10 * 550 == 24870


def test_printers_resolutions_say_nothing(tmp_path):
    spec = specs(tmp_path)["bach-micro"]
    Image.new("RGB", (2048, 1536)).save(tmp_path / "a.tif", dpi=(72, 72))
    with Slide(tmp_path / "a.tif", None, spec.reader, fallback_mpp=spec.slide_mpp) as slide:
        assert slide.mpp == pytest.approx(0.42)


@pytest.mark.parametrize("name", ["bach-micro", "janowczyk7"])
def test_sets_in_folders_of_classes_need_no_table(tmp_path, name):
    files = {
        "bach-micro": ["Normal/n001", "Benign/b001", "InSitu/is001", "Invasive/iv001"],
        "janowczyk7": ["CLL/sj-03-2810_001", "CLL/sj-03-2810_002", "FL/sj-05-1396_001", "MCL/sj-04-4525_001"],
    }
    top = tmp_path / name / ("ICIAR2018_BACH_Challenge/Photos" if name == "bach-micro" else ".")
    for file in files[name]:
        blank(top / f"{file}.tif", 16, 16)
    (top / "microscopy_ground_truth.csv").write_text("n001.tif,Normal\n")
    found = {(e.name, e.label, e.patient) for e in read_slides(specs(tmp_path)[name], tmp_path)}
    assert {(name, label) for name, label, _ in found} == {
        (Path(file).name, file.split("/")[0]) for file in files[name]
    }
    if name == "janowczyk7":
        assert {patient for *_, patient in found} == {"sj-03-2810", "sj-05-1396", "sj-04-4525"}
    card = load_card(name, [])
    assert set(classes_of(specs(tmp_path)[name].labels, [label for _, label, _ in found])) == set(card.classes)


def write_originals(data: Path) -> None:
    """One or two images of each archive, with what is drawn in them."""
    one = data / "janowczyk1"
    blank(one / "12750_500_f00003_original.tif", 2000, 2000)
    mask = np.zeros((2000, 2000), np.uint8)
    mask[:250, :] = 255  # one row of squares, and half of the next
    Image.fromarray(mask).save(one / "12750_500_f00003_mask.png")
    two = data / "janowczyk2"
    blank(two / "10254_500_f00018.tif", 1000, 1000)
    (two / "masks").mkdir()
    mask = np.zeros((1000, 1000), np.uint8)
    mask[:, 900:] = 255  # of the last column but one of squares none, of the last one half
    Image.fromarray(mask).save(two / "masks/10254_500_f00018_mask.png")
    for number, cells in ((1, [[10.5, 10], [450, 450], [455, 460]]), (2, np.zeros((0, 0)))):
        image = blank(data / f"warwick-crc/CRCHistoPhenotypes/Classification/img{number}/img{number}.bmp", 500, 500)
        for kind in ("inflammatory", "epithelial"):
            found = cells if kind == "inflammatory" else [[250, 250]]
            scipy.io.savemat(image.with_name(f"img{number}_{kind}.mat"), {"detection": np.array(found)})
    tupac = data / "tupac16-mitosis"
    blank(tupac / "mitoses_image_data_part_1/01/01.tif", 2000, 2000)
    blank(tupac / "mitoses_image_data_part_1/01/02.tif", 2000, 2000)
    blank(tupac / "mitoses_image_data_part_2/24/01.tif", 2000, 2000)
    (tupac / "mitoses_ground_truth/01").mkdir(parents=True)
    (tupac / "mitoses_ground_truth/01/01.csv").write_text("300,1010\r\n1850,240\r\n")  # line, column
    atypia = data / "mitos-atypia14" / ATYPIA
    blank(atypia / "frames/x40/A03_00Aa.tiff", 1539, 1376)
    blank(data / "mitos-atypia14/mitos_atypia_2014_training_hamamatsu/H03/frames/x40/H03_00Aa.tiff", 1663, 1485)
    (atypia / "mitosis").mkdir()
    (atypia / "mitosis/A03_00Aa_mitosis.csv").write_text("700,200,0.9\n")
    (atypia / "mitosis/A03_00Aa_not_mitosis.csv").write_text("800,1000,0.2\n1100,1000,0.1\n")


RECIPES = ("janowczyk1", "janowczyk2", "warwick-crc", "tupac16-mitosis", "mitos-atypia14")
EXPECTED = {
    "janowczyk1": {"12750_500_f00003": {"nuclei": 30, "background": 195}},
    "janowczyk2": {"10254_500_f00018": {"epithelium": 9, "stroma": 72}},
    "warwick-crc": {"img1": {"inflammatory": 2, "other": 23}, "img2": {"other": 25}},
    "tupac16-mitosis": {"01-01": {"mitosis": 20, "background": 62}, "01-02": {"background": 64},
                        "24-01": {"background": 64}},
    "mitos-atypia14": {"A03_00Aa": {"mitosis": 10, "not_mitosis": 20, "background": 13},
                       "H03_00Aa": {"background": 20}},
}  # fmt: skip


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("originals")
    write_originals(data)
    for name in RECIPES:
        run_recipe(name, data / name)
    return data


@pytest.mark.parametrize("name", RECIPES)
def test_the_commands_of_the_header_make_the_table(originals, name):
    spec = specs(originals)[name]
    entries = read_slides(spec, originals)
    classes = classes_of(spec.labels, [])
    assert set(classes) == set(load_card(name, []).classes)
    found = {entry.name.removesuffix("_original"): looked_at(spec, entry, classes) for entry in entries}
    assert found == EXPECTED[name]
    patients = {entry.name: entry.patient for entry in entries}
    if name == "mitos-atypia14":
        assert patients == {"A03_00Aa": "03", "H03_00Aa": "03"}  # two scans of one case
    if name == "tupac16-mitosis":
        assert patients == {"01-01": "01", "01-02": "01", "24-01": "24"}


def test_mitoses_stay_on_their_patches(originals):
    spec = specs(originals)["tupac16-mitosis"]
    entry = next(e for e in read_slides(spec, originals) if e.name == "01-01")
    classes = classes_of(spec.labels, [])
    with Sidecars.of(entry, 0) as sidecars, Slide(sidecars.path, None, fallback_mpp=spec.slide_mpp) as slide:
        found = survey(slide, sidecars, spec, classes, 0, cut_mpx=64)
    corners = [(x, y) for cut in found.cuts
               for (x, y), label in zip(cut.corner.tolist(), cut.label.tolist(), strict=True)
               if classes[label] == "mitosis"]  # fmt: skip
    for x, y in corners:
        assert any(x <= at < x + 250 and y <= down < y + 250 for at, down in ((1010, 300), (240, 1850)))


def test_camelyon16_and_breast(tmp_path):
    """Areas in um: a slide of 0.243 um per pixel has squares of 768 px, of which the tumour covers a part."""
    folder = tmp_path / "camelyon16-patches"
    for kind in ("normal", "tumor", "lesion_annotations"):
        (folder / "training" / kind).mkdir(parents=True)
    pink = np.full((1600, 2400, 3), (200, 120, 170), np.uint8) - np.random.default_rng(0).integers(
        0, 40, (1600, 2400, 1)
    )
    for kind in ("normal", "tumor"):
        _write_pyramid(folder / f"training/{kind}/{kind}_001.tif", pink.astype(np.uint8), 0.243)
    tumors = [square(0, 0, 768, 100), square(1536, 0, 2304, 60)]  # 13 % of one square, 8 % of another
    write_camelyon(folder / "training/lesion_annotations/tumor_001.xml", tumors)
    run_recipe("camelyon16-patches", folder)
    spec = PatchSetSpec.model_validate(specs(tmp_path)["camelyon16-patches"].model_dump() | {"tissue": "all"})
    classes = classes_of(spec.labels, [])
    assert set(classes) == set(load_card("camelyon16-patches", []).classes)
    found = {e.name: looked_at(spec, e, classes) for e in read_slides(spec, tmp_path)}
    assert found == {"normal_001": {"normal": 6}, "tumor_001": {"tumor": 1, "normal": 5}}
    assert load_card("camelyon16-patches", []).mpp == pytest.approx(spec.patch_mpp)
    breast = tmp_path / "breast1"
    image = blank(breast / "a.tif", 1152, 384)
    drawn = [
        ("InSitu", "Polygon", [square(100, 100, 200, 200)]),
        ("Infiltration", "Polygon", [square(768, 0, 1152, 384)]),
    ]
    entry = SlideEntry("a", str(image), mpp=0.25, annotations=str(write_qupath(breast / "a.geojson", drawn)))
    for name, expected in (("breast1", {"tumor": 2, "other": 1}), ("breast2", {"tumor": 9, "other": 7})):
        spec = PatchSetSpec.model_validate(specs(tmp_path)[name].model_dump() | {"tissue": "all"})
        classes = classes_of(spec.labels, [])
        assert set(classes) == set(load_card(name, []).classes)
        assert looked_at(spec, entry, classes) == expected


@pytest.mark.long
def test_the_sets_are_made_and_their_cards_read_them(originals, tmp_path, ray_session):
    absent = ", ".join(f"{name}: null" for name in specs(originals) if name not in RECIPES)
    (tmp_path / "mine.yaml").write_text(f"name: mine\nextends: {POOL}\npatches: {{{absent}}}\n")
    file = load_study(tmp_path / "mine.yaml", [f"data={originals}", f"storage={tmp_path}"])
    for name in RECIPES:
        outcome = run_study(file, stages=("tile",), only=name, progress=Progress(quiet=True))
        assert outcome.failures == []
        home = outcome.home.at("patches", name)
        folder = Path(home.root) / home.read_bytes("current").decode().strip()
        card = load_card(name, []).model_copy(update={"root": folder.name, "n_images": None, "n_units": None})
        task = index_task(card, folder.parent)
        assert task.excluded == []
        counts = Counter(card.classes[sample.label] for sample in task.samples)
        assert counts == sum((Counter(found) for found in EXPECTED[name].values()), Counter())
