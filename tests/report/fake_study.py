"""Study folders with known effects, as the other stages would leave them."""

import io
import json
import struct
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
from PIL import Image

from raysweep.randomness import generator
from raysweep.report.cells import CellRef, RepeatRef
from raysweep.report.seen import Seen
from raysweep.report.spec import CompareSpec
from raysweep.storage import MANIFEST, Storage
from raysweep.transfer.metrics import per_class, score
from raysweep.transfer.schema import CLASSIFICATION_PREDICTIONS, RESULT_SCHEMA, SEGMENTATION_PREDICTIONS

from .fake_task import write_masks, write_task

CLASSES = ["stroma", "tumour"]
VERSIONS = json.dumps({"raysweep": "0.1.0", "raysweep commit": "0c1a2b3 with changes", "torch": "2.15.0"})


def classification(seed: int, *, units: int, images: int, skill: float, noise: float = 0.3) -> pa.Table:
    """Two classes; `skill` shifts the score of the right one. Units (and their difficulty) do not depend on `seed`."""
    hard = generator("hard", units).normal(0, 0.5, units)
    rng = generator("predictions", seed, str(skill))
    unit = np.repeat(np.arange(units), images)
    label = (np.arange(units * images) % 2).astype(np.int32)
    spread = generator("image", units).normal(0, 1, len(unit)) + noise * rng.normal(0, 1, len(unit))
    margin = skill + hard[unit] + spread
    right = 1 / (1 + np.exp(-margin))
    scores = np.where(np.arange(2) == label[:, None], right[:, None], 1 - right[:, None])
    return pa.table(
        {"sample": [f"u{u:03d}/{i}.png" for i, u in enumerate(unit)], "unit": [f"u{u:03d}" for u in unit],
         "fold": np.zeros(len(unit), np.int32), "label": label, "scores": list(scores.astype(np.float32))},
        schema=CLASSIFICATION_PREDICTIONS,
    )  # fmt: skip


def segmentation(seed: int, *, units: int, images: int, skill: float) -> pa.Table:
    """Pixel counts of background and glands; `skill` is the mean overlap."""
    hard = generator("hard", units).normal(0, 0.05, units)
    rng = generator("predictions", seed, str(skill))
    unit = np.repeat(np.arange(units), images)
    size = generator("size", units).integers(300, 900, len(unit))
    overlap = np.clip(skill + hard[unit] + rng.normal(0, 0.03, len(unit)), 0.01, 0.99)
    tp = (overlap * size).astype(np.int64)
    fn = size - tp
    fp = (fn * 0.8).astype(np.int64)
    total = 64 * 64
    columns = {"tp": [total - size - fp, tp], "fp": [fn, fp], "fn": [fp, fn]}
    return pa.table(
        {"sample": [f"u{u:03d}/{i}.png" for i, u in enumerate(unit)], "unit": [f"u{u:03d}" for u in unit],
         "fold": np.zeros(len(unit), np.int32), **{k: list(np.stack(v, axis=1)) for k, v in columns.items()}},
        schema=SEGMENTATION_PREDICTIONS,
    )  # fmt: skip


def write_cell(
    home: Storage, cell: CellRef, tables: list, *, pretrainings: int = 1, search: str = "each",
    further: dict[str, list] | None = None,
) -> None:  # fmt: skip
    """The files of a cell, a finished repeat for each table; where a table is a string, that is why it has no value.

    further: the tables of further test sets by name.
    """
    classes = CLASSES if cell.kind == "classification" else ["background", "gland"]
    for number, (repeat, own) in enumerate(zip(cell.repeats, tables, strict=True)):
        rows = []
        for test_set, table in {cell.task: own, **{n: t[number] for n, t in (further or {}).items()}}.items():
            failed = isinstance(table, str)
            file = "" if failed else f"predictions/{test_set}.parquet"
            if not failed:
                repeat.folder.write_table(table, *file.split("/"))
            rows += [
                {"study": "test", "checkpoint": cell.checkpoint, "pretraining_seed": repeat.number % pretrainings,
                 "task": cell.task, "kind": cell.kind, "test_set": test_set, "n_folds": 1, "protocol": cell.protocol,
                 "fraction": cell.fraction, "repeat": repeat.number, "search": search,
                 "n_images": round(240 * cell.fraction), "n_units": max(2, round(40 * cell.fraction)),
                 "n_val_images": round(48 * cell.fraction), "n_val_units": max(1, round(8 * cell.fraction)),
                 "n_test_images": None if failed else len(set(table["sample"].to_pylist())),
                 "n_test_units": None if failed else len(set(table["unit"].to_pylist())), "params": ['{"lr": 0.001}'],
                 "metric": metric, "value": None if failed else score(table, metric, cell.kind),
                 "reason": table if failed else "", "classes": classes,
                 "per_class": None if failed else per_class(table, cell.kind, metric), "predictions": file,
                 "folder": repeat.path, "versions": VERSIONS, "search_seconds": 61.0, "train_seconds": 6.5}
                for metric in cell.metrics
            ]  # fmt: skip
        final = pa.Table.from_pylist(rows, schema=RESULT_SCHEMA)
        steps = [{"fold": 0, "step": s, "val_metric": 0.5 + 0.1 * i} for i, s in enumerate((10, 14, 20))]
        final = final.append_column("evaluations", pa.array([steps] * len(rows)))
        repeat.folder.write_table(final.append_column("best_last", pa.array([True] * len(rows))), "final.parquet")
        status = ["done", "done", "pruned", "failed"]
        trials = {"fold": [0] * 4, "number": [0, 1, 2, 3], "value": [0.6, 0.7, 0.5, None], "select": ["val_metric"] * 4,
                  "status": status, "reason": [None, None, None, "the loss is nan"],
                  "trial_seconds": [20.0, 20.0, 11.0, 10.0]}  # fmt: skip
        repeat.folder.write_table(pa.table(trials), "trials.parquet")
        repeat.folder.write_json({"fingerprint": "0"}, MANIFEST)


def make_cell(
    home: Storage, checkpoint: str, task: str, kind: str, protocol: str, fraction: float, *, repeats: int = 3,
    status: str = "done", reason: str = "", unit: str | None = None, metrics: tuple[str, ...] = (),
    seen: tuple[Seen, ...] = (), further: tuple[tuple[str, str | None], ...] = (),
) -> CellRef:  # fmt: skip
    path = f"cells/{checkpoint}/{task}/{protocol}/{fraction:g}"
    own = ("dice",) if kind == "segmentation" else ("balanced_accuracy",)
    refs = [RepeatRef(i, home.at(f"{path}/0a1b2c3d/{i}"), f"{path}/0a1b2c3d/{i}", status, reason)
            for i in range(repeats)]  # fmt: skip
    return CellRef(path, checkpoint, task, kind, protocol, fraction, metrics or own, tuple(refs), unit, seen, further)


def with_status(cell: CellRef, status: str, reason: str = "") -> CellRef:
    """The same cell, none of its repeats finished."""
    return replace(cell, repeats=tuple(replace(r, status=status, reason=reason) for r in cell.repeats))


def write_slides(folder: Storage, *, done: int, failed: int) -> None:
    rows = []
    for i in range(done + failed):
        ok = i < done
        rows.append({
            "slide": f"slide-{i:03d}", "path": f"slide-{i:03d}.svs", "patient": f"P{i // 2:03d}", "site": None,
            "label": None, "split": "train", "status": "done" if ok else "failed",
            "reason": "" if ok else "no mpp: give one in the slide table's mpp column", "mpp": 0.499 if ok else None,
            "mpp_source": "metadata" if ok else None, "n_patches": 120 + i if ok else 0,
            "tissue_area_um2": 3.2e6 if ok else None, "overlay": f"overlays/slide-{i:03d}.jpg" if ok else None,
            "tile_seconds": 1.0,
        })  # fmt: skip
        if ok:
            picture = generator("slide", i).integers(120, 255, (90, 140, 3)).astype(np.uint8)
            out = io.BytesIO()
            Image.fromarray(picture).resize((560, 360)).save(out, "JPEG")
            folder.write_bytes(out.getvalue(), "overlays", f"slide-{i:03d}.jpg")
    folder.write_table(pa.Table.from_pylist(rows), "slides.parquet")


def write_checkpoint(folder: Storage, **info) -> None:
    """A checkpoint file without weights: the header is all that the report reads."""
    facts = {"backbone": "resnet50", "mean": [0.5] * 3, "std": [0.25] * 3, "init": "random", **info}
    header = json.dumps({"__metadata__": {"format": "pt", "raysweep": json.dumps(facts)}}).encode()
    folder.write_bytes(struct.pack("<Q", len(header)) + header, "backbone.safetensors")
    folder.write_json({"fingerprint": "0"}, MANIFEST)


SKILLS = {"imagenet": 0.9, "random": 0.2, "simclr": 1.5, "retrained": 0.93}


def make_study(root: Path, *, fractions=(0.1, 0.5, 1.0), units: int = 24, repeats: int = 3,
               protocols=("finetune", "linear"), skills=SKILLS, tasks=("tissue", "glands")):  # fmt: skip
    """A whole study: arguments of `write_report` as attributes, all of it finished."""
    home = Storage.open(root)
    cells = []
    for task in tasks:
        kind = "segmentation" if task == "glands" else "classification"
        for protocol in protocols if kind == "classification" else ["finetune"]:
            for fraction in fractions:
                for name, skill in skills.items():
                    cell = make_cell(home, name, task, kind, protocol, fraction, unit="patient", repeats=repeats)
                    tables = []
                    for i in range(repeats):
                        gain = 0.5 * np.log10(fraction) + generator("run", name, i, fraction).normal(0, 0.02)
                        if kind == "segmentation":
                            more = {"units": units, "images": 3, "skill": float(0.6 + 0.15 * skill + 0.1 * gain)}
                            tables.append(segmentation(i, **more))
                        else:
                            tables.append(classification(i, units=units, images=6, skill=float(skill + gain)))
                    write_cell(home, cell, tables)
                    cells.append(cell)
    patches = home.at("patches/tissue112/0a1b2c3d")
    write_slides(patches, done=5, failed=2)
    checkpoints = {n: [home.at(f"checkpoints/{n}/0a1b2c3d")] for n in skills}
    for name, (folder,) in checkpoints.items():
        if name in ("simclr", "retrained"):
            method = "supervised" if name == "retrained" else name
            write_checkpoint(folder, method=method, patches="0a1b2c3d" * 4, epochs=40, mpp=0.5,
                             px=224, sources=["slide-000"], licence="CC BY 4.0",
                             parents=[{"backbone": "resnet50", "init": "timm:resnet50.tv_in1k"}])  # fmt: skip
        else:
            write_checkpoint(folder, init="timm:resnet50.tv_in1k" if name == "imagenet" else "random")
    places = {task: home.at(f"tasks/{task}/0a1b2c3d") for task in tasks}
    for task, place in places.items():
        write_task(place, task, next(c for c in cells if c.task == task))
    for cell in cells:
        write_masks(cell)
    transfer = {"trials": 4, "sampler": "tpe"}
    home.write_json({"name": "glands", "seed": 0, "storage": "/home/me/runs", "transfer": transfer}, "study.json")
    return SimpleNamespace(folder=home, study="glands", compare=CompareSpec(baseline="imagenet"),
                           patch_sets={"tissue112": patches}, checkpoints=checkpoints, cells=cells,
                           tasks=places)  # fmt: skip
