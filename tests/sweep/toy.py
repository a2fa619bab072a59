"""A protocol that takes no time, so that searches can be tested by the dozen; and a driver that runs one.

Run as a script, it searches the cells that a JSON file describes (see `main`): something to kill.
"""

import itertools
import json
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
from raysweep.sweep.cell import Cell, cell_inputs
from raysweep.sweep.finish import finish_cell
from raysweep.sweep.journal import Event, Journal
from raysweep.sweep.lane import Lane
from raysweep.sweep.trial import Bench, TransferTrial
from raysweep.tasks.card import Card
from raysweep.tasks.sample import Sample
from raysweep.tasks.task import Task
from raysweep.transfer import protocols
from raysweep.transfer.job import Evaluation, Job, Protocol, Run
from raysweep.transfer.schema import CLASSIFICATION_PREDICTIONS
from raysweep.transfer.spec import TransferSpec

SPACE = {
    "lr": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True},
    "drop": {"type": "float", "low": 0.0, "high": 0.5, "log": False},
    "pace": 0.0,
}


class ToySettings(Model):
    lr: float
    drop: float
    pace: float = 0.0  # seconds per evaluation
    fails_above: float = 1.0  # lr
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
            raise ValueError(f"lr {self.settings.lr:.3g} is too high")
        if self.done == 2 and self.settings.dies:
            _die(self.settings.dies)
        noise = generator(self.job.seed, self.done, sum(self.job.train)).normal(0, 0.01)
        value = self._skill() * (1 - 0.5**self.done) + noise
        return Evaluation(self.done * self.job.steps // self.job.evaluations, 1 - value, 1 - value, value)

    def predict(self, indices: list[int]) -> pa.Table:
        task = Task.load(self.job.task)
        rng = generator(self.job.seed, "predict")
        rows = []
        for index in indices:
            sample = task.samples[index]
            assert sample.label is not None
            right = float(np.clip(0.5 * self._skill() + 0.3 * rng.normal() + 0.3, 0, 1))
            scores = [1 - right, right] if sample.label else [right, 1 - right]
            rows.append({"sample": sample.id, "unit": sample.unit, "label": sample.label, "scores": scores})
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
) -> list[str]:
    """`search` with the toy protocol."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    real, run.TransferTrial = run.TransferTrial, ToyTrial  # type: ignore[misc]
    try:
        return run.search(cells, transfer, study="toys", seed=seed, threads=1, trials_at_once=at_once,
                          scratch=scratch, progress=progress or Progress(quiet=True))  # fmt: skip
    finally:
        run.TransferTrial = real  # type: ignore[misc]


def toy_task(folder: Path, *, folds: int = 1, n: int = 48) -> Storage:
    """A saved task of two classes without files; two images of each patient."""
    card = Card.model_validate(
        {"name": "toy-task", "kind": "classification", "classes": ["dull", "shiny"], "source": "none",
         "licence": {"name": "CC0"}, "root": "none", "layout": {"type": "csv", "file": "none.csv"}, "unit": "patient",
         "splits": {"type": "folds", "k": folds} if folds > 1 else {"type": "holdout"}, "metric": "accuracy"}
    )  # fmt: skip
    samples = [Sample(f"s{i:03d}", f"{i}.png", None, (i // 2) % 2, f"p{i // 2}") for i in range(n)]
    storage = Storage.open(folder / f"task{folds}")
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
    **space: Any,
) -> list[Cell]:
    """One cell for each letter of `checkpoints`, in a study's folder; `space` replaces settings."""
    task = toy_task(folder, folds=folds)
    cells = []
    for name in checkpoints:
        inputs = cell_inputs(transfer, checkpoints=[name], task=f"task{folds}", protocol="toy", kind="classification",
                             fraction=1.0, space=SPACE | space, seed=seed)  # fmt: skip
        home = Storage.open(folder / "toys" / "cells" / name / "toy-task" / "toy" / "1")
        weights = [Storage.open(folder / f"seed{i}" / name) for i in range(pretraining_seeds)]
        cells.append(Cell(name, weights, "toy-task", task, "toy", "classification", 1.0, Artefact(home, inputs), []))
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
) -> dict[str, str]:
    """`search` without Ray: the same board and trials, in one process, actors served in a random order.

    `events`: the driver is killed (Killed) in the middle of writing that event, counted from this start. Returns the
    reasons of the cells that failed.
    """
    cards, lanes, broken = run._open_lanes(cells, transfer, seed)
    assert not broken
    bench = Bench({c.artefact.folder.root: c for c in cells}, transfer, seed, threads=1, gpu=False)
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

    def finish(cell: Cell, lanes: list[Lane]) -> None:
        finish_cell(cell, lanes, cards[cell.task_folder.root], transfer, study=study)

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
                    root = lane.cell.artefact.folder.root
                    config = {"cell": root, "fold": lane.fold, work.kind: work.number, "params": work.params}
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
    """Everything that a search leaves behind, but for seconds and versions."""
    left = []
    for cell in cells:
        folder = cell.artefact.folder
        if not cell.artefact.done():
            left.append(cell.name)
            continue
        for file in ("trials.parquet", "finals.parquet"):
            table = folder.read_table(file)
            left.append(table.drop_columns([c for c in table.column_names if c.endswith("_seconds")]).to_pylist())
        left.append({n: stable_hash(folder.read_bytes("predictions", n)) for n in folder.names("predictions")})
    return left


def main(path: str) -> None:
    """Search the cells of a JSON file: folder, transfer, cells (arguments of toy_cells), address, at_once."""
    import ray

    wanted = json.loads(Path(path).read_text())
    folder = Path(wanted["folder"])
    transfer = TransferSpec.model_validate(wanted["transfer"])
    ray.init(address=wanted["address"], log_to_driver=False, logging_level="ERROR")
    failed = toy_search(toy_cells(folder, transfer, **wanted["cells"]), transfer, at_once=wanted["at_once"],
                        scratch=folder / "scratch")  # fmt: skip
    print(json.dumps(failed))


if __name__ == "__main__":
    main(sys.argv[1])
