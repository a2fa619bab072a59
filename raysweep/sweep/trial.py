"""The Tune actor: trials and finals of any repeat, one after another."""

import json
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from ray import tune

from raysweep.errors import RequestError, reason_of
from raysweep.memory import keep_memory
from raysweep.randomness import torch_seed
from raysweep.storage import Storage
from raysweep.sweep.cell import Cell, Repeat
from raysweep.sweep.lane import PARTS, mask_part
from raysweep.tasks.fractions import Draw, Draws, part_of
from raysweep.tasks.further import further_samples
from raysweep.tasks.shown import shown_samples
from raysweep.tasks.splits import Fold, folds
from raysweep.tasks.task import Task
from raysweep.transfer.images import open_images
from raysweep.transfer.job import Diverged, Evaluation, Job, Run
from raysweep.transfer.kept_masks import KeptMasks
from raysweep.transfer.model_info import save_model
from raysweep.transfer.protocol import get_protocol
from raysweep.transfer.spec import TransferSpec

_KEPT = 8  # tasks, and divisions of tasks, that an actor remembers between trials

_T = TypeVar("_T")


@dataclass(frozen=True)
class Bench:
    """What all trials of a search share; travels to an actor once."""

    repeats: dict[str, tuple[Cell, Repeat]]  # by the repeat's folder
    transfer: TransferSpec
    seed: int
    data: str  # the study's: where the tasks' folders stand
    threads: int
    gpu: bool


class TransferTrial(tune.Trainable):
    """Runs one trial or final: its config is {"repeat": its folder, "fold", "trial" or "final": number, "params"}.

    Each step says, as JSON under "said": `evaluation` (or None) and the `steps` of a whole trial, `seconds` of this
    attempt so far, `last`, `failed` (the reason, when the setting diverged, or empty), `lost` (another error: the
    attempt came to nothing), `refused` (trying again cannot help) and, at the end of a final, `final`. Exceptions are
    said, not raised: only the death of the process is an error to Tune.
    """

    def setup(self, config: dict[str, Any], bench: Bench | None = None) -> None:
        assert bench is not None
        self._bench = bench
        if not bench.gpu:
            keep_memory()
        self._tasks: OrderedDict[Any, tuple[Task, list[Fold]]] = OrderedDict()
        self._draws: OrderedDict[Any, Draws] = OrderedDict()
        self._drawn: OrderedDict[Any, Draw] = OrderedDict()
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Forget the last trial, keep the process and what it has loaded."""
        self._work = new_config
        self._run: Run | None = None
        self._evaluations: list[dict[str, Any]] = []
        self._seconds = 0.0
        return True

    def step(self) -> dict[str, Any]:
        started = time.monotonic()
        said: dict[str, Any] = {
            "evaluation": None,
            "last": True,
            "failed": "",
            "lost": "",
            "refused": "",
            "final": None,
        }
        try:
            said |= self._trial() if "trial" in self._work else self._final()
        except Diverged as error:
            said["failed"] = reason_of(error)
        except RequestError as error:
            said["refused"] = reason_of(error)
        except Exception as error:
            said["lost"] = reason_of(error)
        if said["last"]:
            self._run = None  # its memory is wanted by the next trial
        self._seconds += time.monotonic() - started
        said["seconds"] = self._seconds
        if "final" in self._work and not said["lost"] and not said["refused"]:
            final = said["final"] or {"predictions": "", "reason": said["failed"]}
            said["final"] = {"params": self._work["params"], "evaluations": self._evaluations, "chosen_by": "",
                             "edge": "", **final, "seconds": self._seconds}  # fmt: skip
        return {"said": json.dumps(said)}

    def _trial(self) -> dict[str, Any]:
        if self._run is None:
            job, _ = self._job("trial")
            self._run, self._steps = get_protocol(self._cell.protocol).start(job), job.steps
        evaluation = self._run.advance()
        if evaluation is None:
            return {}
        self._evaluations.append(_plain(evaluation))
        last = evaluation.step >= self._steps
        return {"evaluation": self._evaluations[-1], "last": last, "steps": self._steps}

    def _final(self) -> dict[str, Any]:
        cell, fold = self._cell, self._work["fold"]
        self._evaluations.clear()
        job, test = self._job("final")
        run = get_protocol(cell.protocol).start(job)
        while (evaluation := run.advance()) is not None:
            self._evaluations.append(_plain(evaluation))
        name = f"{cell.task}-fold{fold}.parquet"
        masks, folder = self._masks(), self._repeat.artefact.folder
        folder.write_table(run.predict(test, masks=masks), PARTS, name)
        if masks is not None:
            folder.write_table(masks.table(fold=fold), *mask_part(cell.task, fold))
        if self._bench.transfer.keep_models == "first" and self._repeat.number == 0 and (trained := run.trained()):
            save_model(folder, trained)
        final: dict[str, Any] = {"predictions": f"{PARTS}/{name}", "reason": "", "further": self._further(run)}
        if chosen := run.chosen():
            final |= {"params": chosen.params, "chosen_by": chosen.by, "edge": chosen.edge}
        return {"final": final}

    def _masks(self) -> KeptMasks | None:
        """What keeps the masks that a final predicts; None where nobody will look at any."""
        if self._cell.kind != "segmentation" or self._repeat.number != 0:
            return None
        task, all_folds = self._task(self._cell.task_folder)
        return KeptMasks(shown_samples(task, all_folds, self._bench.seed)[self._work["fold"]])

    def _further(self, run: Run) -> dict[str, str]:
        """Test what was trained on the further test sets, as it is: the file of each."""
        cell, fold, files = self._cell, self._work["fold"], {}
        card = self._task(cell.task_folder)[0].card
        for test_set, folder in cell.test_sets.items():
            images = open_images(folder, self._bench.data, like=card)
            name = f"{test_set}-fold{fold}.parquet"
            table = run.predict(further_samples(images.task), images)
            self._repeat.artefact.folder.write_table(table, PARTS, name)
            files[test_set] = f"{PARTS}/{name}"
        return files

    def _job(self, kind: str) -> tuple[Job, list[int]]:
        """What is to be trained, and the samples that a final is tested on."""
        protocol = get_protocol(self._cell.protocol)
        cell, repeat, transfer, fold_index = self._cell, self._repeat, self._bench.transfer, self._work["fold"]
        task, all_folds = self._task(cell.task_folder)
        fold, share = all_folds[fold_index], 0.0 if cell.frozen else transfer.val
        key = (cell.task_folder.root, fold_index, repeat.number)

        def draw() -> Draw:  # the fractions of a draw share its order
            make = partial(Draws, task, fold, fraction_of=transfer.fraction_of, draw=repeat.number,
                           seed=self._bench.seed)  # fmt: skip
            return _keep(self._draws, key, make).at(cell.fraction, share)

        drawn = _keep(self._drawn, (*key, cell.fraction, share), draw)
        # the same for every checkpoint: they differ in nothing but their weights
        stream = (self._bench.seed, kind, cell.task, cell.protocol, cell.fraction, fold_index, repeat.number,
                  self._work[kind])  # fmt: skip
        val = drawn.val
        if "val_images" in protocol.budget:
            val = part_of(task, val, transfer.val_images, seed=self._bench.seed)
        job = Job(
            checkpoint=repeat.weights_of(fold_index),
            task=cell.task_folder,
            data=self._bench.data,
            fold=fold_index,
            train=drawn.train,
            val=val,
            params=dict(self._work["params"]),
            steps=transfer.steps_for(len(fold.train), len(drawn.train)),
            evaluations=transfer.evaluations,
            batch=transfer.batch,
            select=transfer.select_by(drawn.n_val_units),
            seed=torch_seed(*stream),
            threads=self._bench.threads,
            gpu=self._bench.gpu,
            decoder=cell.decoder or "unet",
            adaptation=cell.adaptation,
            features=repeat.features_of(fold_index),
            test_features=repeat.test_features_of(fold_index),
        )
        return job, fold.test

    def _task(self, folder: Storage) -> tuple[Task, list[Fold]]:
        def load() -> tuple[Task, list[Fold]]:
            task = Task.load(folder, self._bench.data)
            return task, folds(task, self._bench.seed)

        return _keep(self._tasks, folder.root, load)

    @property
    def _cell(self) -> Cell:
        return self._bench.repeats[self._work["repeat"]][0]

    @property
    def _repeat(self) -> Repeat:
        return self._bench.repeats[self._work["repeat"]][1]


def _keep(kept: OrderedDict[Any, _T], key: Any, make: Callable[[], _T]) -> _T:
    """What was made for a key before, or now; the least used is forgotten."""
    if key not in kept:
        kept[key] = make()
        if len(kept) > _KEPT:
            kept.popitem(last=False)
    kept.move_to_end(key)
    return kept[key]


def _plain(evaluation: Evaluation) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "step": int(evaluation.step),
        "train_loss": None if evaluation.train_loss is None else float(evaluation.train_loss),
        "val_loss": float(evaluation.val_loss),
        "val_metric": float(evaluation.val_metric),
    }
    if evaluation.micro_batch is not None:
        plain["micro_batch"] = evaluation.micro_batch
    return plain if evaluation.setting is None else plain | {"setting": json.dumps(evaluation.setting)}
