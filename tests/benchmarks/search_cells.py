"""Cells that the comparisons of a search train: tiny ones on noise, and real ones of the demo and of GlaS."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raysweep.randomness import generator
from raysweep.storage import Artefact, Storage
from raysweep.sweep.cell import Cell, Repeat, repeat_inputs
from raysweep.sweep.space import load_space
from raysweep.sweep.trial import Bench, TransferTrial
from raysweep.tasks.card import Card
from raysweep.tasks.cards import load_card
from raysweep.tasks.sample import Sample
from raysweep.tasks.task import Task, index_task
from raysweep.transfer.spec import TransferSpec

SPACE: dict[str, Any] = {
    "lr": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True, "default": 3e-4},
    "head_lr_factor": {"type": "float", "low": 1.0, "high": 30.0, "log": True, "default": 5.0},
    "augment": {"type": "float", "low": 0.0, "high": 1.0, "log": False, "default": 0.5},
}


@dataclass(frozen=True)
class Real:
    """A cell of real pictures, small enough to be trained a hundred times: what of it differs from the study's own."""

    card: str
    backbone: str
    init: str  # or a file below the test data
    changes: Mapping[str, Any]  # of the card
    space: Mapping[str, Any]  # what of the shipped one
    val: float
    steps: int


_DEMO = {  # the demo's own: what a random start learns from within so few steps
    "lr": {"type": "float", "low": 5e-4, "high": 1e-2, "log": True, "default": 2e-3},
    "head_lr_factor": {"type": "float", "low": 1.0, "high": 10.0, "log": True, "default": 3.0},
}
REAL = {
    "demo tissue": Real("demo-tissue", "regnetx_002", "random", {}, _DEMO, 0.4, 48),
    # a whole image is two windows of few pixels
    "GlaS grade": Real("glas-grade", "tf_efficientnet_lite0", "weights/tf_efficientnet_lite0.imagenet.safetensors",
                       {"px": 64, "at_mpp": 5.1}, {}, 0.3, 48),
}  # fmt: skip


class Trainer:
    """Trains settings in this process, as an actor of a search would."""

    def __init__(self, cells: list[Cell], transfer: TransferSpec, data: str) -> None:
        repeats = {r.artefact.folder.root: (c, r) for c in cells for r in c.repeats}
        self._bench = Bench(repeats, transfer, 0, data, 1, False)
        self._actor: TransferTrial | None = None

    def curve(self, repeat: Repeat, params: dict[str, Any], number: int) -> list[dict[str, Any]]:
        """The evaluations of one training."""
        config = {"repeat": repeat.artefact.folder.root, "fold": 0, "trial": number, "params": params}
        if self._actor is None:
            self._actor = TransferTrial.__new__(TransferTrial)
            self._actor.setup(config, self._bench)
        else:
            self._actor.reset_config(config)
        found: list[dict[str, Any]] = []
        while True:
            said = json.loads(self._actor.step()["said"])
            if said["lost"] or said["refused"]:
                raise SystemExit(said["lost"] or said["refused"])
            if said["evaluation"]:
                found.append(said["evaluation"])
            if said["last"]:
                return found


def tiny_cells(
    folder: Path, n: int, trials: int, steps: int, task: Storage | None = None
) -> tuple[list[Cell], TransferSpec]:
    """Cells of fine-tuning a tiny network on a task; default: 64 pictures of noise."""
    transfer = TransferSpec(trials=trials, repeats=1, steps=steps, evaluations=min(8, steps), batch=16,
                            early_stopping="none")  # fmt: skip
    checkpoint = save_weights(folder / "checkpoint", "test_resnet")
    task = task or noise(folder, 64)
    return [_cell(folder, f"tiny{i}", task, "classification", checkpoint, SPACE, transfer) for i in range(n)], transfer


def real_cell(folder: Path, name: str, transfer: TransferSpec) -> tuple[Cell, str]:
    """A cell of `REAL`, with the shipped space; and the folder that its data stand in."""
    real = REAL[name]
    if real.card.startswith("demo-"):
        from raysweep.demo.sets import write_sets

        data = str(folder / "data")
        write_sets(Path(data), seed=0)
    else:
        data = os.environ.get("RAYSWEEP_TEST_DATA", "")
        if not data:
            raise SystemExit("GlaS is not here: set RAYSWEEP_TEST_DATA to the folder that has glas/ and weights/")
    init = real.init if real.init == "random" else f"{data}/{real.init}"
    checkpoint = save_weights(folder / "checkpoint", real.backbone, init)
    card = load_card(real.card, []).model_copy(update=dict(real.changes))
    task = Storage.open(folder / "task")
    index_task(card, Path(data)).save(task)
    space = load_space("finetune", card.kind, {}, []) | dict(real.space)
    return _cell(folder, name, task, card.kind, checkpoint, space, transfer), data


def save_weights(folder: Path, backbone: str, init: str = "random") -> Storage:
    """A checkpoint, if it is not there yet."""
    from raysweep.backbones.checkpoint import save_checkpoint
    from raysweep.backbones.init import initial_weights

    checkpoint = Storage.open(folder)
    if not checkpoint.exists("backbone.safetensors"):
        found = initial_weights(init, backbone, seed=0)
        save_checkpoint(checkpoint, found.weights, found.info)
    return checkpoint


def noise(folder: Path, n: int, px: int = 32, *, edge: int = 32, apart: float = 70.0) -> Storage:
    """A task of n pictures of noise, dark or bright, two of each patient; its files below `folder/data`.

    `edge`: of the pictures, of which networks see px pixels at a time. `apart`: grey levels between dark and bright.
    """
    from PIL import Image

    storage, root = Storage.open(folder / "task"), folder / "data/pictures"
    if root.exists():
        return storage
    root.mkdir(parents=True)
    rng = generator(0, "pictures")
    samples = []
    for i in range(n):
        level = 110 + apart * (i % 2) + rng.normal(0, 35)
        pixels = rng.normal(level, 25, (32, 32, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).resize((edge, edge)).save(root / f"{i}.png", compress_level=1)
        samples.append(Sample(f"{i:04d}", f"{i}.png", None, i % 2, f"unit{i // 2}"))
    card = Card.model_validate(
        {"name": "pictures", "kind": "classification", "classes": ["dark", "bright"], "source": "none",
         "unit": "patient", "licence": {"name": "CC0"}, "root": "pictures", "layout": {"type": "image_folder"},
         "px": px, "metrics": ["balanced_accuracy"]}
    )  # fmt: skip
    Task(card, root, samples).save(storage)
    return storage


def _cell(
    folder: Path, name: str, task: Storage, kind: str, checkpoint: Storage, space: dict[str, Any],
    transfer: TransferSpec,
) -> Cell:  # fmt: skip
    made = repeat_inputs(transfer, checkpoints=["c"], task="t", protocol="finetune", kind=kind, fraction=1.0,
                         space=space, seed=0)  # fmt: skip
    home = Storage.open(folder / "study/cells" / name / "task/finetune/1")
    own = tuple(Repeat(r, Artefact(home, made, str(r)), 0, (checkpoint,)) for r in range(transfer.repeats))
    return Cell(name, "task", task, "finetune", kind, 1.0, space, own)
