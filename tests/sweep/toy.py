"""A protocol that takes no time, so that searches can be tested by the dozen; and a driver that runs one.

Run as a script, it searches the cells that a JSON file describes (see `main`): something to kill.
"""

import itertools
import json
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from ray import cloudpickle

from raysweep.model import Model
from raysweep.progress import Progress
from raysweep.randomness import generator, stable_hash
from raysweep.storage import Artefact, Storage
from raysweep.sweep import run
from raysweep.sweep.board import Board
from raysweep.sweep.cell import Cell, Repeat, repeat_inputs
from raysweep.sweep.finish import finish_repeat
from raysweep.sweep.journal import Event, Journal
from raysweep.sweep.lane import Lane
from raysweep.sweep.trial import Bench, TransferTrial
from raysweep.tasks.card import Card
from raysweep.tasks.sample import Sample
from raysweep.tasks.task import Task
from raysweep.transfer import protocols
from raysweep.transfer.job import Diverged, Evaluation, Job, Protocol, Run
from raysweep.transfer.schema import CLASSIFICATION_PREDICTIONS
from raysweep.transfer.spec import TransferSpec

SPACE = {
    "lr": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True, "default": 1e-3},
    "drop": {"type": "float", "low": 0.0, "high": 0.5, "log": False, "default": 0.1},
    "pace": 0.0,
}


class ToySettings(Model):
    lr: float
    drop: float
    pace: float = 0.0  # seconds per evaluation
    fails_above: float = 1.0  # lr
    final_fails: str = ""  # letters of checkpoints whose finals diverge
    needs: str = ""  # a file: without it nothing can be read
    dies: str = ""  # a file: who finds it removes it and dies; `always`: every attempt dies
    dies_early: str = ""  # the same, while its process is made ready for it


@dataclass
class ToyRun(Run):
    """The closer lr is to 10^-(2 + last letter of the checkpoint), the better; noise depends on the seed."""

    job: Job
    settings: ToySettings
    done: int = 0

    def advance(self) -> Evaluation | None:
        if self.done == self.job.evaluations:
            return None
        self.done += 1
        time.sleep(self.settings.pace)
        if self.settings.lr > self.settings.fails_above:
            raise Diverged(f"lr {self.settings.lr:.3g} is too high")
        if self.settings.needs and not os.path.exists(self.settings.needs):
            raise FileNotFoundError(f"{self.settings.needs} is gone")
        if self.done == 2 and self.settings.dies:
            _die(self.settings.dies)
        noise = generator(self.job.seed, self.done, sum(self.job.train)).normal(0, 0.01)
        value = self._skill() * (1 - 0.5**self.done) + noise
        return Evaluation(self.done * self.job.steps // self.job.evaluations, 1 - value, 1 - value, value)

    def predict(self, indices, images=None, masks=None) -> pa.Table:
        if self.settings.final_fails and self.job.checkpoint.root[-1] in self.settings.final_fails:
            raise Diverged("the loss is nan")
        task = Task.load(self.job.task, self.job.data) if images is None else images.task
        rng = generator(self.job.seed, "predict", task.card.name)
        rows = []
        for index in indices:
            sample = task.samples[index]
            assert sample.label is not None
            right = float(np.clip(0.5 * self._skill() + 0.3 * rng.normal() + 0.3, 0, 1))
            scores = [1 - right, right] if sample.label else [right, 1 - right]
            rows.append({"sample": sample.id, "unit": sample.unit, "fold": self.job.fold, "label": sample.label,
                         "scores": scores})  # fmt: skip
        return pa.Table.from_pylist(rows, CLASSIFICATION_PREDICTIONS)

    def _skill(self) -> float:
        best = -2 - (ord(self.job.checkpoint.root[-1]) - ord("a"))
        return 1 / (1 + (np.log10(self.settings.lr) - best) ** 2) - 0.2 * self.settings.drop


def _die(marker: str) -> None:
    if marker != "always":
        if not os.path.exists(marker):
            return
        os.unlink(marker)
    os._exit(1)


class Toy(Protocol):
    name = "toy"
    kinds = frozenset({"classification"})
    frozen = False
    adaptation = "full"
    budget = frozenset({"trials", "val", "steps", "evaluations", "select", "early_stopping"})

    def settings(self, kind: str) -> type[ToySettings]:
        return ToySettings

    def start(self, job: Job) -> Run:
        return ToyRun(job, ToySettings(**job.params))


class ToyTrial(TransferTrial):
    """A trial whose process knows the toy protocol."""

    def setup(self, config, bench=None):
        protocols._registry["toy"] = Toy()
        super().setup(config, bench)

    def reset_config(self, new_config):
        if marker := new_config["params"].get("dies_early"):
            _die(marker)
        return super().reset_config(new_config)


def toy_search(
    cells: list[Cell],
    transfer: TransferSpec,
    *,
    at_once: int = 2,
    scratch: Path,
    seed: int = 0,
    progress: Progress | None = None,
    limits: run.Limits = run.Limits(),
) -> run.Found:
    """`search` with the toy protocol."""
    protocols._registry["toy"] = Toy()
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    real, run.TransferTrial = run.TransferTrial, ToyTrial  # type: ignore[misc]
    try:
        return run.search(cells, transfer, study="toys", seed=seed, data="/nowhere", threads=1,
                          trials_at_once=at_once, scratch=scratch, limits=limits,
                          progress=progress or Progress(quiet=True))  # fmt: skip
    finally:
        run.TransferTrial = real  # type: ignore[misc]


def toy_task(folder: Path, *, folds: int = 1, n: int = 48, name: str = "toy-task") -> Storage:
    """A saved task of two classes without files; two images of each patient."""
    card = Card.model_validate(
        {"name": name, "kind": "classification", "classes": ["dull", "shiny"], "source": "none",
         "licence": {"name": "CC0"}, "root": "none", "layout": {"type": "csv", "file": "none.csv"}, "unit": "patient",
         "splits": {"type": "folds", "k": folds} if folds > 1 else {"type": "holdout"},
         "metrics": ["accuracy", "auroc"]}
    )  # fmt: skip
    samples = [Sample(f"s{i:03d}", f"{i}.png", None, (i // 2) % 2, f"p{i // 2}") for i in range(n)]
    storage = Storage.open(folder / (f"task{folds}" if name == "toy-task" else name))
    Task(card, folder, samples).save(storage)
    return storage


def toy_cells(
    folder: Path,
    transfer: TransferSpec,
    *,
    checkpoints: str = "ab",
    folds: int = 1,
    seed: int = 0,
    pretraining_seeds: int = 1,
    fraction: float = 1.0,
    n: int = 48,
    test_sets: tuple[str, ...] = (),
    **space: Any,
) -> list[Cell]:
    """One cell for each letter of `checkpoints`, in a study's folder; `space` replaces settings.

    test_sets: names of further test sets, of 10 images each.
    """
    protocols._registry["toy"] = Toy()
    task = toy_task(folder, folds=folds, n=n)
    further = {other: toy_task(folder, n=10, name=other) for other in test_sets}
    cells = []
    for name in checkpoints:
        home = Storage.open(folder / "toys" / "cells" / name / "toy-task" / "toy" / f"{fraction:g}")
        made = {"task": f"task{folds}", "protocol": "toy", "kind": "classification", "fraction": fraction,
                    "space": SPACE | space, "seed": seed,
                    "test_sets": {other: f"index of {other}" for other in further}}  # fmt: skip
        repeats = []
        for number in range(transfer.repeats):
            of = number % pretraining_seeds
            once = [f"{name}0"] if transfer.search == "once" and number else None
            inputs = repeat_inputs(transfer, checkpoints=[f"{name}{of}"], searched_on=once, **made)
            weights = (Storage.open(folder / f"seed{of}" / name),)
            repeats.append(Repeat(number, Artefact(home, inputs, str(number)), of, weights))
        cells.append(Cell(name, "toy-task", task, "toy", "classification", fraction, SPACE | space, tuple(repeats),
                          test_sets=further))  # fmt: skip
    return cells


class Killed(BaseException):
    """The driver of a simulated search was killed."""


def simulate(
    cells: list[Cell],
    transfer: TransferSpec,
    *,
    at_once: int = 1,
    order: int = 0,
    events: int | None = None,
    seed: int = 0,
    study: str = "toys",
    data: str = "/nowhere",
) -> dict[str, str]:
    """`search` without Ray: the same board and trials, in one process, actors served in a random order.

    `events`: the driver is killed (Killed) in the middle of writing that event, counted from this start. Returns the
    reasons of the repeats that failed.
    """
    protocols._registry["toy"] = Toy()
    cards, lanes, broken = run.open_lanes(cells, transfer, seed, data)
    assert not broken
    repeats = {r.artefact.folder.root: (c, r) for c in cells for r in c.repeats}
    bench = Bench(repeats, transfer, seed, data, threads=1, gpu=False)
    rng = generator(order, "order of events")
    written = 0

    def append(journal: Journal, event: Event) -> None:
        nonlocal written
        if written == events:
            os.makedirs(journal.folder.root, exist_ok=True)
            with open(journal.folder.path(f"{journal.name}.jsonl"), "ab") as file:
                file.write(json.dumps(event)[: int(rng.integers(1, 40))].encode())
            raise Killed
        written += 1
        append_event(journal, event)

    def finish(cell: Cell, repeat: Repeat, lanes: list[Lane]) -> None:
        finish_repeat(cell, repeat, lanes, cards[cell.task_folder.root], transfer, study=study)

    append_event = Journal.append
    Journal.append = append  # type: ignore[method-assign]
    fsync, os.fsync = os.fsync, lambda descriptor: None  # nobody pulls a plug here
    try:
        with Progress(quiet=True).stage("search", None, "trials") as stage:
            board = Board(lanes, finish, stage, at_once)
            at_work: dict[str, ToyTrial] = {}
            idle: list[ToyTrial] = []
            keys = map(str, itertools.count())
            while True:
                if given := board.start(key := next(keys)):
                    lane, work = given
                    root = lane.repeat.artefact.folder.root
                    config = {"repeat": root, "fold": lane.fold, work.kind: work.number, "params": work.params}
                    if idle:
                        at_work[key] = idle.pop()
                        at_work[key].reset_config(config)
                    else:
                        at_work[key] = ToyTrial.__new__(ToyTrial)
                        at_work[key].setup(config, bench)
                    continue
                if board.done:
                    break
                key = sorted(at_work)[rng.integers(len(at_work))]
                if board.result(key, json.loads(at_work[key].step()["said"])):
                    idle.append(at_work.pop(key))
                    board.release(key)
        return board.failed
    finally:
        Journal.append = append_event  # type: ignore[method-assign]
        os.fsync = fsync


def outcome(cells: list[Cell]) -> list:
    """What a search leaves behind, but for seconds and versions: trials, rows and predictions of each repeat."""
    left: list = []
    for cell in cells:
        for repeat in cell.repeats:
            folder = repeat.artefact.folder
            if not repeat.artefact.done():
                left.append(f"{cell.name} {repeat.number}")
                continue
            for file in ("trials.parquet", "final.parquet"):
                table = folder.read_table(file)
                kept = table.drop_columns([c for c in table.column_names if c.endswith("_seconds")]).to_pylist()
                left.append(_comparable(kept))
            left.append({n: stable_hash(folder.read_bytes("predictions", n)) for n in folder.names("predictions")})
    return left


def _comparable(value: Any) -> Any:
    """With one and the same nan everywhere, which a list then finds equal to itself."""
    if isinstance(value, dict):
        return {key: _comparable(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_comparable(part) for part in value]
    return math.nan if isinstance(value, float) and math.isnan(value) else value


def events(cell: Cell, repeat: int = 0, fold: int = 0) -> list[Event]:
    """The journal of a repeat in a fold."""
    return Journal(cell.repeats[repeat].artefact.folder.at("journal"), f"fold{fold}").read()


def main(path: str) -> None:
    """Search the cells of a JSON file: folder, transfer, cells (arguments of toy_cells), address, at_once."""
    import ray

    wanted = json.loads(Path(path).read_text())
    folder = Path(wanted["folder"])
    transfer = TransferSpec.model_validate(wanted["transfer"])
    ray.init(address=wanted["address"], log_to_driver=False, logging_level="ERROR")
    found = toy_search(toy_cells(folder, transfer, **wanted["cells"]), transfer, at_once=wanted["at_once"],
                        scratch=folder / "scratch")  # fmt: skip
    print(json.dumps(found.failed))


if __name__ == "__main__":
    main(sys.argv[1])
