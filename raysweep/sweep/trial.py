"""The Tune actor: trials and finals of any cell, one after another."""

import json
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ray import tune

from raysweep.errors import reason_of
from raysweep.randomness import torch_seed
from raysweep.storage import Storage
from raysweep.sweep.cell import Cell
from raysweep.tasks.fractions import Draw, draw_fraction
from raysweep.tasks.splits import Fold, folds
from raysweep.tasks.task import Task
from raysweep.transfer.job import Evaluation, Job, Run
from raysweep.transfer.protocol import get_protocol
from raysweep.transfer.spec import TransferSpec

_KEPT = 8  # tasks, and divisions of tasks, that an actor remembers between trials

_T = TypeVar("_T")


@dataclass(frozen=True)
class Bench:
    """What all trials of a search share; travels to an actor once."""

    cells: dict[str, Cell]  # by folder
    transfer: TransferSpec
    seed: int
    threads: int
    gpu: bool


class TransferTrial(tune.Trainable):
    """Runs one trial or final of its config: {"cell", "fold", "trial" or "final", "params"}, the cell by its folder.

    Each step says, as JSON under "said": `evaluation` (or None), `seconds` of this attempt so far, `last`, `failed`
    (the reason, or empty) and, at the end of a final, `final`. Exceptions are said, not raised: only the death of the
    process is an error to Tune, which then repeats the trial.
    """

    def setup(self, config: dict[str, Any], bench: Bench | None = None) -> None:
        assert bench is not None
        self._bench = bench
        self._tasks: OrderedDict[Any, tuple[Task, list[Fold]]] = OrderedDict()
        self._draws: OrderedDict[Any, Draw] = OrderedDict()
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Forget the last trial, keep the process and what it has loaded."""
        self._work = new_config
        self._run: Run | None = None
        self._evaluations = 0
        self._seconds = 0.0
        return True

    def step(self) -> dict[str, Any]:
        started = time.monotonic()
        said: dict[str, Any] = {"evaluation": None, "last": True, "failed": "", "final": None}
        try:
            said |= self._trial() if "trial" in self._work else self._final()
        except Exception as error:
            said["failed"] = reason_of(error)
        if said["last"]:
            self._run = None  # its memory is wanted by the next trial
        self._seconds += time.monotonic() - started
        said["seconds"] = self._seconds
        if said["final"]:
            said["final"]["seconds"] = self._seconds
        return {"said": json.dumps(said)}

    def _trial(self) -> dict[str, Any]:
        protocol, transfer = get_protocol(self._cell.protocol), self._bench.transfer
        if self._run is None:
            job, _, _ = self._job("trial", draw=0, pretraining_seed=0)
            self._run = protocol.start(job)
        evaluation = self._run.advance()
        if evaluation is None:
            return {}
        self._evaluations += 1
        # frozen protocols fit once; with fewer steps than evaluations there is one evaluation per step
        last = protocol.frozen or self._evaluations >= transfer.evaluations or evaluation.step >= transfer.steps
        return {"evaluation": _plain(evaluation), "last": last}

    def _final(self) -> dict[str, Any]:
        number, cell = self._work["final"], self._cell
        job, draw, test = self._job("final", draw=number, pretraining_seed=number % len(cell.checkpoints))
        run = get_protocol(cell.protocol).start(job)
        while run.advance() is not None:
            pass
        name = f"seed{number}-fold{self._work['fold']}.parquet"
        cell.artefact.folder.write_table(run.predict(test), "predictions", name)
        return {"final": {"params": job.params, "n_images": draw.n_images, "n_units": draw.n_units,
                          "predictions": f"predictions/{name}"}}  # fmt: skip

    def _job(self, kind: str, *, draw: int, pretraining_seed: int) -> tuple[Job, Draw, list[int]]:
        cell, transfer, fold_index = self._cell, self._bench.transfer, self._work["fold"]
        task, all_folds = self._task(cell.task_folder)
        fold = all_folds[fold_index]
        drawn = _keep(
            self._draws,
            (cell.task_folder.root, fold_index, cell.fraction, draw),
            lambda: draw_fraction(task, fold, fraction=cell.fraction, fraction_of=transfer.fraction_of,
                                  val=transfer.val, draw=draw, seed=self._bench.seed),
        )  # fmt: skip
        # the same for every checkpoint: they differ in nothing but their weights
        stream = (self._bench.seed, kind, cell.task, cell.protocol, cell.fraction, fold_index, self._work[kind])
        job = Job(
            checkpoint=cell.checkpoints[pretraining_seed],
            task=cell.task_folder,
            train=drawn.train,
            val=drawn.val,
            params=dict(self._work["params"]),
            steps=transfer.steps,
            evaluations=transfer.evaluations,
            batch=transfer.batch,
            select=transfer.select,
            seed=torch_seed(*stream),
            threads=self._bench.threads,
            gpu=self._bench.gpu,
        )
        if cell.features:
            job = replace(job, features=cell.features[pretraining_seed])
        return job, drawn, fold.test

    def _task(self, folder: Storage) -> tuple[Task, list[Fold]]:
        def load() -> tuple[Task, list[Fold]]:
            task = Task.load(folder)
            return task, folds(task, self._bench.seed)

        return _keep(self._tasks, folder.root, load)

    @property
    def _cell(self) -> Cell:
        return self._bench.cells[self._work["cell"]]


def _keep(kept: OrderedDict[Any, _T], key: Any, make: Callable[[], _T]) -> _T:
    """What was made for a key before, or now; the least used is forgotten."""
    if key not in kept:
        kept[key] = make()
        if len(kept) > _KEPT:
            kept.popitem(last=False)
    kept.move_to_end(key)
    return kept[key]


def _plain(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "step": int(evaluation.step),
        "train_loss": float(evaluation.train_loss),
        "val_loss": float(evaluation.val_loss),
        "val_metric": float(evaluation.val_metric),
    }
