"""The study files of Kawai et al. 2023, on small slides in the layouts that they ask for."""

import io
from collections import Counter
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from raysweep.errors import RequestError
from raysweep.patches.codec import decode
from raysweep.patches.read import PatchSet
from raysweep.progress import Progress
from raysweep.slides.table.columns import deal_splits
from raysweep.slides.table.entries import read_slides
from raysweep.study.load import load_study
from raysweep.study.plan import plan_rows
from raysweep.study.run import run_study
from tests.study.kawai import PALETTE, PANDA_MPP, UUID, run_recipe, table, write_camelyon16, write_panda, write_tcga

_SETS = ("ptcga200", "pcam200", "segpanda200")
_KINDS = [  # barcode, label, um per pixel, size
    ("TCGA-AB-0001-01Z-00-DX1", "Liver and intrahepatic bile ducts", 0.5, (1250, 850)),
    ("TCGA-AB-0001-01Z-00-DX2", "bile_liver", 0.5, (850, 850)),
    ("TCGA-CD-0002-01Z-00-DX1", "Colon", 0.2528, (1600, 800)),
    ("TCGA-CD-0002-01A-01-TS1", "Colon", 0.5, (450, 450)),
    ("TCGA-EF-0003-06Z-00-DX1", "Small intestine", 0.5, (450, 450)),
    ("TCGA-EF-0004-01Z-00-DX1", "Thymus", 0.6, (850, 850)),
    ("TCGA-GH-0005-01Z-00-DX1", "adrenal_gland", 0.5, (450, 450)),
    ("TCGA-GH-0006-01Z-00-DX1", "adrenal_gland", 0.5, (450, 450)),
    ("TCGA-GH-0006-01Z-00-DX2", "adrenal_gland", 0.5, (450, 450)),
    ("TCGA-IJ-0007-01Z-00-DX1", "adrenal_gland", 0.5, (450, 450)),
]


@dataclass
class Tiled:
    """What the tile stage of a study left."""

    patches: PatchSet
    slides: dict[str, dict]
    rows: list[dict]
    failures: list[str]

    @property
    def ends(self) -> dict[str, tuple[str, str]]:
        return {name: (row["status"], row["reason"]) for name, row in self.slides.items()}


def tiled(name: str, data: Path, runs: Path, *overrides: str) -> Tiled:
    bad = f"patches.{name}.max_failed=1"  # some of the drawn slides are meant to fail
    file = load_study(f"kawai_{name}", [f"data={data}", f"storage={runs}", bad, *overrides])
    outcome = run_study(file, stages=("tile",), progress=Progress(quiet=True))
    home = outcome.home.at("patches", name)
    folder = home.at(home.read_bytes("current").decode().strip())
    slides = {row["slide"]: row for row in folder.read_table("slides.parquet").to_pylist()}
    shards = [folder.read_table("shards", shard) for shard in folder.names("shards")]
    shards = [shard.set_column(1, "slide", shard["slide"].cast(pa.string())) for shard in shards]
    return Tiled(PatchSet(folder), slides, pa.concat_tables(shards).to_pylist(), outcome.failures)


@pytest.fixture(scope="module")
def tcga(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tcga(tmp_path_factory.mktemp("tcga"), _KINDS)


@pytest.fixture(scope="module")
def camelyon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_camelyon16(tmp_path_factory.mktemp("camelyon"))
    run_recipe("kawai_pcam200", folder)
    return folder


@pytest.fixture(scope="module")
def panda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_panda(tmp_path_factory.mktemp("panda"))
    run_recipe("kawai_segpanda200", folder)
    return folder


@pytest.mark.parametrize("name", _SETS)
def test_a_patch_is_200_um_and_512_px(name: str) -> None:
    spec = load_study(f"kawai_{name}", ["data=x"]).study.patches[name]
    assert (spec.um, spec.px, spec.patch_mpp, spec.max_upsample) == (200, 512, 0.390625, 1.3)


def test_each_can_be_planned(tcga: Path, camelyon: Path, panda: Path, tmp_path: Path) -> None:
    for name, data, method in zip(_SETS, (tcga, camelyon, panda), ("supervised", "simclr", "simclr"), strict=True):
        changes = [f"checkpoints.{method}.{key}" for key in ("backbone=resnet10t", "px=32", "epochs=2")]
        _, rows, _ = plan_rows(load_study(f"kawai_{name}", [f"data={data}", f"storage={tmp_path}", *changes]))
        assert [row[:3] for row in rows] == [
            ["tile", f"patch set {name}", "to do"],
            ["pretrain", "checkpoint random", "to do"],
            ["pretrain", f"checkpoint {method}", "to do"],
        ]


@pytest.mark.usefixtures("ray_session")
def test_ptcga200(tcga: Path, tmp_path: Path) -> None:
    made = tiled("ptcga200", tcga, tmp_path, "patches.ptcga200.per_slide=4")
    assert len(made.patches.classes) == 20
    names = {kind[0]: f"{kind[0]}.{UUID}" for kind in _KINDS}
    frozen, coarse = names["TCGA-CD-0002-01A-01-TS1"], names["TCGA-EF-0004-01Z-00-DX1"]
    assert set(made.slides) == set(names.values()) - {frozen}
    assert made.ends[coarse][0] == "skipped"
    assert made.ends[coarse][1] == (
        "too coarse: the slide has 0.6 um per pixel and the patches need 0.3906, 1.54 times enlarged (at most 1.3)"
    )
    assert {status for name, (status, _) in made.ends.items() if name != coarse} == {"done"}
    assert made.failures == []  # nothing is wrong with a slide that is skipped

    found = Counter((row["slide"], made.patches.classes[row["label"]], row["label"]) for row in made.rows)
    assert found == {(names[kind[0]], "adrenal_gland", 0): 1 for kind in _KINDS[-4:]} | {
        (names["TCGA-AB-0001-01Z-00-DX1"], "liver", 1): 4,
        (names["TCGA-AB-0001-01Z-00-DX2"], "liver", 1): 4,
        (names["TCGA-CD-0002-01Z-00-DX1"], "bowel", 6): 2,  # 791 px of the slide are 200 um
        (names["TCGA-EF-0003-06Z-00-DX1"], "bowel", 6): 1,
    }
    assert made.slides[names["TCGA-AB-0001-01Z-00-DX1"]]["dropped"] == "2 cap of the slide"
    for row in made.rows:
        assert row["patient"] == row["slide"][:12]
        assert row["mpp"] == 0.390625
        assert row["source_mpp"] == (0.2528 if "0002" in row["slide"] else 0.5)
        assert row["mask"] is None
        assert decode(row["image"]["bytes"]).shape == (512, 512, 3)
    splits = {name: row["split"] for name, row in made.slides.items()}
    assert splits[names["TCGA-AB-0001-01Z-00-DX1"]] == splits[names["TCGA-AB-0001-01Z-00-DX2"]]
    assert {row["split"] for row in made.rows if row["slide"] == coarse} == set()
    assert all(row["split"] == splits[row["slide"]] for row in made.rows)
    # Of the three patients with an adrenal gland each split has one, two slides and all; others are alone: train keeps.
    adrenal = {name[:12]: row["split"] for name, row in made.slides.items() if row["label"] == "adrenal_gland"}
    assert sorted(adrenal.values()) == ["test", "train", "val"]
    assert {(name[:12], split) for name, split in splits.items() if name[:12] in adrenal} == set(adrenal.items())
    assert {split for name, split in splits.items() if name[:12] not in adrenal} == {"train"}


def dealt(name: str, data: Path, *columns: str) -> Counter:
    """How many slides of each value of some columns come into each split."""
    file = load_study(f"kawai_{name}", [f"data={data}"])
    spec = file.study.patches[name]
    slides = read_slides(spec, file.folder)
    splits = deal_splits(slides, spec.split, file.study.seed, spec.split_by, spec.split_within)
    return Counter((*(slide.columns[column] for column in columns), splits[slide.name]) for slide in slides)


def test_pcam200_deals_a_tenth_of_the_normal_and_of_the_tumour_slides(tmp_path: Path) -> None:
    lines = [f"{kind}_{n:03d}.tif,{kind}," for kind, most in (("normal", 160), ("tumor", 110)) for n in range(most)]
    lines += [f"test_{n:03d}.tif,{'tumor' if n < 49 else 'normal'},test" for n in range(130)]
    (tmp_path / "slides.csv").write_text("\n".join(["path,label,split", *lines]))
    assert dealt("pcam200", tmp_path, "label") == {
        ("normal", "train"): 144, ("normal", "val"): 16, ("normal", "test"): 81,
        ("tumor", "train"): 99, ("tumor", "val"): 11, ("tumor", "test"): 49}  # fmt: skip


def test_segpanda200_deals_a_tenth_of_each_grade(tmp_path: Path) -> None:
    slides = {0: 100, 1: 40, 2: 30, 3: 30, 4: 20, 5: 4}
    lines = [f"{grade}_{n},x.tiff,radboud,{grade}" for grade, most in slides.items() for n in range(most)]
    lines = [line.replace("x.tiff", f"{number}.tiff") for number, line in enumerate([*lines, "k,x.tiff,karolinska,5"])]
    (tmp_path / "slides.csv").write_text("\n".join(["slide,path,data_provider,isup_grade", *lines]))
    few = {grade: max(1, most // 10) for grade, most in slides.items()}
    assert dealt("segpanda200", tmp_path, "isup_grade") == {
        **{(str(grade), split): n for grade, n in few.items() for split in ("val", "test")},
        **{(str(grade), "train"): most - 2 * few[grade] for grade, most in slides.items()},
    }


def test_ptcga200_deals_patients_97_2_1(tmp_path: Path) -> None:
    organ = {n: "thymus" if n < 4 else "brain" for n in range(1004)}
    lines = [f"TCGA-AB-{n:04d}-01Z-00-DX{k}.svs,{organ[n]}" for n in organ for k in (1, 2)]
    (tmp_path / "slides.csv").write_text("\n".join(["path,label", *lines]))
    file = load_study("kawai_ptcga200", [f"data={tmp_path}"])
    spec = file.study.patches["ptcga200"]
    slides = read_slides(spec, file.folder)
    splits = deal_splits(slides, spec.split, 0, spec.split_by, spec.split_within)
    assert dealt("ptcga200", tmp_path, "label") == {
        ("brain", "train"): 1940, ("brain", "val"): 40, ("brain", "test"): 20,
        ("thymus", "train"): 4, ("thymus", "val"): 2, ("thymus", "test"): 2}  # fmt: skip
    assert len({(name[:12], split) for name, split in splits.items()}) == 1004


def test_ptcga200_refuses_an_organ_that_it_has_not(tcga: Path, tmp_path: Path) -> None:
    text = (tcga / "slides.csv").read_text().replace("Thymus", "Eye and adnexa")
    (tmp_path / "slides.csv").write_text(text)
    data = [f"data={tmp_path}", f"patches.ptcga200.root={tcga}", f"storage={tmp_path}"]
    with pytest.raises(RequestError, match=r"^patches\.ptcga200: labels: the slide table has the label Eye and adnexa"):
        plan_rows(load_study("kawai_ptcga200", data))


@pytest.mark.usefixtures("ray_session")
def test_pcam200(camelyon: Path, tmp_path: Path) -> None:
    rows = table(camelyon)
    told = {name: (Path(row["annotations"]).name, row["label"], row["split"]) for name, row in rows.items()}
    assert told == {
        "normal_001": ("", "normal", ""),
        "tumor_001": ("tumor_001.xml", "tumor", ""),
        "tumor_002": ("", "tumor", ""),
        "tumor_003": ("tumor_003.xml", "tumor", ""),
        "test_001": ("test_001.xml", "tumor", "test"),
        "test_002": ("", "normal", "test"),
    }
    made = tiled("pcam200", camelyon, tmp_path, "patches.pcam200.um=25", "patches.pcam200.px=64")
    assert made.patches.classes == ["normal", "tumor"]
    assert made.ends == {
        **dict.fromkeys(("normal_001", "tumor_001", "test_001", "test_002"), ("done", None)),
        "tumor_002": ("skipped", "no patch is left (30 background of a slide that gives none)"),
        "tumor_003": (
            "failed",
            f"annotations {camelyon}/training/lesion_annotations/tumor_003.xml: no rule names the class metastases; "
            "add it to labels.classes, labels.subtract or labels.ignore",
        ),
    }
    assert [failure.split(":")[0] for failure in made.failures] == ["slide tumor_003 of patch set pcam200"]
    everywhere = set(product(range(6), range(5)))
    metastases = {(1, 1), (2, 1), (3, 1), (1, 2), (2, 2), (3, 2), (0, 4)}
    assert placed(made, "normal_001") == placed(made, "test_002") == {0: everywhere}
    assert placed(made, "tumor_001") == placed(made, "test_001") == {1: metastases}
    assert made.slides["tumor_001"]["dropped"] == "23 background of a slide that gives none"
    assert {row["split"] for row in made.rows if row["slide"].startswith("test")} == {"test"}
    splits = {name: row["split"] for name, row in made.slides.items()}
    assert splits["normal_001"] == "train"  # the only one
    assert sorted(splits[f"tumor_00{n}"] for n in (1, 2, 3)) == ["train", "train", "val"]
    assert all(row["split"] == splits[row["slide"]] for row in made.rows)


@pytest.mark.usefixtures("ray_session")
def test_pcam200_caps_each_class_of_a_slide(camelyon: Path, tmp_path: Path) -> None:
    """Normal patches of tumour slides too, but then every slide is trusted to be outlined."""
    small = ["patches.pcam200.um=25", "patches.pcam200.px=64", "patches.pcam200.labels.per_class=5"]
    made = tiled("pcam200", camelyon, tmp_path, *small, "patches.pcam200.labels.background_from.label=[normal,tumor]")
    counts = Counter((row["slide"], row["label"]) for row in made.rows)
    assert set(counts.values()) == {5}
    assert {label for slide, label in counts if slide == "tumor_001"} == {0, 1}
    assert made.slides["normal_001"]["dropped"] == "25 class cap"
    assert made.slides["tumor_001"]["dropped"] == "20 class cap"  # 18 of 23 and 2 of 7


def placed(made: Tiled, slide: str) -> dict[int, set[tuple[int, int]]]:
    """Columns and rows of a slide's patches, 100 px apart, by label."""
    found: dict[int, set[tuple[int, int]]] = {}
    for row in made.rows:
        if row["slide"] == slide:
            assert (row["x"] % 100, row["y"] % 100) == (0, 0)
            found.setdefault(row["label"], set()).add((row["x"] // 100, row["y"] // 100))
    return found


@pytest.mark.usefixtures("ray_session")
def test_segpanda200(panda: Path, tmp_path: Path) -> None:
    rows = table(panda)
    assert rows["r3"] == {"slide": "r3", "path": "train_images/r3.tiff", "mask": "", "data_provider": "radboud",
                          "isup_grade": "1", "gleason_score": "3+4"}  # fmt: skip
    assert rows["r0"]["mask"] == "train_label_masks/r0_mask.tiff"
    small = ["patches.segpanda200.um=25", "patches.segpanda200.px=64"]
    made = tiled("segpanda200", panda, tmp_path, *small)
    assert made.patches.classes == ["background", "stroma", "healthy", "gleason_3", "gleason_4", "gleason_5"]
    assert made.patches.folder.read_json("manifest.json")["config"]["mask_classes"] == made.patches.classes
    ends = made.ends
    assert set(ends) == {"r0", "r1", "r2", "r3", "r4", "r5"}
    assert {name for name, (status, _) in ends.items() if status == "done"} == {"r0", "r1", "r2"}
    assert ends["r3"][0] == "skipped"
    assert ends["r3"][1].startswith("no patch is left (")
    assert ends["r3"][1].endswith(" no mask)")
    assert ends["r4"][0] == ends["r5"][0] == "failed"
    assert "r4_mask.tiff: is at the wrong scale: 415 x 560 pixels have not the shape" in ends["r4"][1]
    assert "r5_mask.tiff: no rule names the value 7" in ends["r5"][1]
    for name in ("r0", "r1", "r2"):
        assert made.slides[name]["mpp"] == pytest.approx(PANDA_MPP, rel=1e-4)
        assert made.slides[name]["mpp_source"] == "tiff resolution"
        assert made.slides[name]["n_patches"] > 60
    for grade in (("r0", "r1", "r2"), ("r3", "r4", "r5")):
        assert sorted(made.slides[name]["split"] for name in grade) == ["test", "train", "val"]
    splits = {(row["slide"], row["split"]) for row in made.rows}
    assert splits == {(name, made.slides[name]["split"]) for name in ("r0", "r1", "r2")}
    check_masks(made)


def check_masks(made: Tiled) -> None:
    """The label has most pixels. A pixel's colour tells the class that its mask has, and less so one pixel aside."""
    agree = np.zeros((3, 3))
    for row in made.rows:
        with Image.open(io.BytesIO(row["mask"])) as png:
            assert (png.format, png.mode, png.size) == ("PNG", "L", (64, 64))
            mask = np.asarray(png)
        counts = np.bincount(mask.ravel(), minlength=6)
        assert counts[row["label"]] >= counts.max() - 0.05 * mask.size
        pixels = decode(row["image"]["bytes"]).astype(np.int16)
        told = np.abs(pixels[:, :, None] - PALETTE).sum(axis=3).argmin(axis=2)
        for dy, dx in product(range(3), range(3)):
            agree[dy, dx] += (told[1:-1, 1:-1] == mask[dy : 62 + dy, dx : 62 + dx]).mean()
    agree /= len(made.rows)
    assert agree[1, 1] > 0.97
    agree[1, 1] -= 0.005
    assert agree.argmax() == 4


@pytest.mark.usefixtures("ray_session")
def test_segpanda200_fails_a_slide_of_the_other_provider(panda: Path, tmp_path: Path) -> None:
    small = ["patches.segpanda200.um=25", "patches.segpanda200.px=64", "patches.segpanda200.per_slide=3"]
    made = tiled("segpanda200", panda, tmp_path, *small, "patches.segpanda200.where.data_provider=[radboud,karolinska]")
    assert made.ends["k0"][0] == "failed"
    assert made.ends["k0"][1].endswith(
        "k0_mask.tiff: the column data_provider is karolinska, which labels.values does not name; it has radboud"
    )
    assert Counter(row["slide"] for row in made.rows) == {"r0": 3, "r1": 3, "r2": 3}
