"""Search every cell of a study and run its finals, as one Tune experiment, or several in turn if it is long."""

import contextlib
import logging
import math
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import ray
from ray import tune
from ray.tune.execution import class_cache

from raysweep.errors import WorkError, reason_of
from raysweep.lease import Claims
from raysweep.progress import Progress
from raysweep.sweep.board import Board
from raysweep.sweep.cell import Cell, Repeat, piece_of
from raysweep.sweep.finish import finish_repeat
from raysweep.sweep.gauges import Gauges
from raysweep.sweep.lane import DrawSizes, Lane
from raysweep.sweep.reuse import EarlierSearches
from raysweep.sweep.scheduler import CellScheduler
from raysweep.sweep.searcher import CellSearcher
from raysweep.sweep.state import FAILED
from raysweep.sweep.trial import Bench, TransferTrial
from raysweep.tasks.card import Card
from raysweep.tasks.fractions import Draws
from raysweep.tasks.splits import Fold, folds
from raysweep.tasks.task import Task
from raysweep.transfer.node_cache import remove_unused
from raysweep.transfer.spec import TransferSpec

# Tune keeps every trial of an experiment: 40 KB each in the driver, and the end of an experiment is 0.7 ms for each.
# A new experiment waits for the last trials of the one before and costs 5 s: 0.1 % of 4,000 trials of a second.
_MOST_OF_TUNE = 4000

_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV, JSON and TensorBoard files for every trial
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # the journals are the state: Tune's snapshots are not wanted
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints tables even when verbose=0
}


@dataclass(frozen=True)
class Limits:
    """When a run starts no further trials; what is under way, and finals of searches that have ended, are done."""

    hours: float | None = None  # since the search began
    trials: int | None = None  # that this run has started


@dataclass(frozen=True)
class Found:
    """What came of a search: names of the repeats that failed, and of those that a limit left for the next run."""

    failed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    others: frozenset[str] = frozenset()  # folders of the repeats that other runs are at


def search(
    cells: list[Cell],
    transfer: TransferSpec,
    *,
    study: str,
    seed: int,
    data: str,
    threads: int,
    trials_at_once: int | None = None,
    limits: Limits = Limits(),
    scratch: Path | None = None,
    claims: Claims | None = None,
    progress: Progress,
) -> Found:
    """Search every repeat of all cells, run their finals and commit each as soon as it is finished. Ray is initialised.

    Whatever is on record in a repeat's journals is not repeated; the results are those of a run that was never
    killed, whatever `trials_at_once` is.

    Args:
        cells: the fingerprints' inputs of their repeats are what `repeat_inputs` gave; finished repeats are skipped.
        transfer: protocols and budget.
        study: name of the study, for the result rows.
        seed: the study's.
        data: the folder that the tasks' own folders stand in.
        threads: CPU threads of a trial; part of what makes results the same to the bit.
        trials_at_once: trials and finals in flight over all cells. Default: one per `threads` CPUs of the cluster,
            or one per GPU where there are any. More than there are GPUs share them.
        limits: how long it may go on.
        scratch: a local folder for Tune's own files; default: a temporary one.
        claims: what other runs of the study are at; default: there are none.
        progress: where to show it.

    Why a repeat failed is in `failed.json` in its folder.
    Raises WorkError when the journals cannot be written, KeyboardInterrupt when interrupted.
    """
    cards, lanes, broken = open_lanes(cells, transfer, seed, data, claims)
    resources, places = _resources(threads, trials_at_once)
    repeats = {r.artefact.folder.root: (c, r) for c in cells for r in c.repeats}
    bench = Bench(repeats, transfer, seed, data, threads, gpu="gpu" in resources)

    def finish(cell: Cell, repeat: Repeat, lanes: list[Lane]) -> None:
        finish_repeat(cell, repeat, lanes, cards[cell.task_folder.root], transfer, study=study)

    with progress.stage("search", sum(lane.left for lane in lanes), "trials") as stage, _scratch(scratch) as folder:
        board = Board(lanes, finish, stage, places, stop=_stop(limits), told=Gauges().told, claims=claims)
        del lanes  # the board lets go of those that are done
        try:
            for cell, repeat, reason in broken:
                board.fail(cell, repeat, reason)
            while not board.done:
                _fit(board, bench, resources, places, folder)
                remove_unused()
        finally:
            board.let_go()
    return Found(sorted(board.failed), sorted(board.left), frozenset(board.others))


def _stop(limits: Limits) -> Callable[[int], bool]:
    """Whether no further trial starts, by how many have."""
    most = math.inf if limits.trials is None else limits.trials
    end = math.inf if limits.hours is None else time.monotonic() + 3600 * limits.hours
    return lambda started: started >= most or time.monotonic() >= end


def open_lanes(
    cells: list[Cell], transfer: TransferSpec, seed: int, data: str, claims: Claims | None = None
) -> tuple[dict[str, Card], list[Lane], list[tuple[Cell, Repeat, str]]]:
    """Cards by task folder, the lanes of all repeats to be done, and the repeats that cannot be started and why.

    Repeat 0 of every cell comes first, then repeat 1: what is there at any time is as balanced as it can be.
    """
    opener = _Opener(transfer, seed, data, claims)
    lanes: list[Lane] = []
    broken = []
    others = claims.others() if claims is not None else {}
    for cell, repeat in sorted(((c, r) for c in cells for r in c.repeats), key=lambda pair: pair[1].number):
        if repeat.artefact.done():
            continue
        try:
            if piece_of(cell, repeat, transfer).root not in others:
                repeat.artefact.folder.remove(FAILED)
            lanes += opener.lanes(cell, repeat)
        except Exception as error:
            broken.append((cell, repeat, reason_of(error)))
    return {root: task.card for root, (task, _) in opener.tasks.items()}, lanes, broken


class _Opener:
    """Makes lanes; tasks and the sizes of draws are looked up once for all checkpoints and protocols."""

    def __init__(self, transfer: TransferSpec, seed: int, data: str, claims: Claims | None) -> None:
        self._transfer, self._seed, self._data, self._claims = transfer, seed, data, claims
        self.tasks: dict[str, tuple[Task, list[Fold]]] = {}  # by task folder
        self._sizes: dict[tuple, DrawSizes] = {}
        self._draws: dict[tuple, Draws] = {}  # of one repeat: they are opened repeat by repeat
        self._earlier = EarlierSearches()
        self._first: dict[int, list[Lane]] = {}  # with `search: once`, repeat 0's by cell

    def lanes(self, cell: Cell, repeat: Repeat) -> list[Lane]:
        """A lane for each fold."""
        root = cell.task_folder.root
        if root not in self.tasks:
            task = Task.load(cell.task_folder, self._data)
            self.tasks[root] = task, folds(task, self._seed)
        self._take_over(cell, repeat)
        if self._transfer.search == "each" or cell.frozen:
            return [self._lane(cell, repeat, fold) for fold in self.tasks[root][1]]
        if cell.repeats[0].number:
            raise WorkError("the search of repeat 0 serves all, and repeat 0 could not be made")
        if id(cell) not in self._first:
            self._first[id(cell)] = [self._lane(cell, cell.repeats[0], fold) for fold in self.tasks[root][1]]
        if repeat.number == 0:
            return self._first[id(cell)]
        pairs = zip(self.tasks[root][1], self._first[id(cell)], strict=True)
        return [self._lane(cell, repeat, fold, first) for fold, first in pairs]

    def _take_over(self, cell: Cell, repeat: Repeat) -> None:
        if self._claims is None:
            return self._earlier.take_over(repeat)
        piece, claims = piece_of(cell, repeat, self._transfer), self._claims
        self._earlier.take_over(repeat, lambda: claims.take(piece))
        claims.release(piece)

    def _lane(self, cell: Cell, repeat: Repeat, fold: Fold, searched_by: Lane | None = None) -> Lane:
        root, transfer = cell.task_folder.root, self._transfer
        divisions = self.tasks[root][1]
        val = 0.0 if cell.frozen else transfer.val
        key = (root, fold.index, cell.fraction, val, repeat.number)
        if key not in self._sizes:
            d = self._drawing(root, fold, repeat.number).at(cell.fraction, val)
            self._sizes[key] = DrawSizes(d.n_images, d.n_units, len(d.val), d.n_val_units)
        return Lane(cell, repeat, fold.index, len(divisions), transfer, self._seed, sizes=self._sizes[key],
                    searched_by=searched_by)  # fmt: skip

    def _drawing(self, root: str, fold: Fold, number: int) -> Draws:
        """What all fractions of a repeat's draw share."""
        if any(key[-1] != number for key in self._draws):
            self._draws.clear()
        key = (root, fold.index, number)
        if key not in self._draws:
            transfer = self._transfer
            self._draws[key] = Draws(self.tasks[root][0], fold, fraction_of=transfer.fraction_of,
                                     draw=number, seed=self._seed)  # fmt: skip
        return self._draws[key]


def _resources(threads: int, at_once: int | None) -> tuple[dict[str, float], int]:
    """What Ray sets aside for a trial, and how many run at once.

    With GPUs, a trial gets a whole one or an equal share: 1, 1/2, 1/3, ... so that shares fill a GPU.
    """
    cluster = ray.cluster_resources()
    cpus, gpus = int(cluster.get("CPU", 1)), int(cluster.get("GPU", 0))
    places = at_once or gpus or max(1, cpus // threads)
    cpu: float = min(threads, cpus / places)
    cpu = float(int(cpu)) if cpu > 1 else cpu  # Ray takes fractions below 1 only
    return {"cpu": cpu} | ({"gpu": 1 / math.ceil(places / gpus)} if gpus else {}), places


def _fit(board: Board, bench: Bench, resources: dict[str, float], places: int, folder: Path) -> None:
    """One Tune experiment: all that there is to do, or as much as one takes."""
    searcher = CellSearcher(board, _MOST_OF_TUNE)
    name = f"search-{uuid.uuid4().hex[:8]}"
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(TransferTrial, bench=bench), resources),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=CellScheduler(board, searcher),
            num_samples=-1,  # the searcher says when it is over
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(folder),
            verbose=0,
            # the board repeats what died, as another Tune trial: Tune itself gives up a trial whose actor dies while
            # it is being reset for it
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    with _quiet(places), _keys_kept():
        try:
            tuner.fit()
        except Exception:
            if board.error is not None:
                raise board.error from None
            raise
        finally:
            shutil.rmtree(folder / name, ignore_errors=True)
    if board.error is not None:
        raise board.error
    if not board.done and (board.at_work or not searcher.used_up):
        raise KeyboardInterrupt  # Tune ends quietly when it is interrupted


@contextlib.contextmanager
def _scratch(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.absolute()
    else:
        with tempfile.TemporaryDirectory(prefix="raysweep-", ignore_cleanup_errors=True) as name:
            yield Path(name)


@contextlib.contextmanager
def _quiet(places: int) -> Iterator[None]:
    """Silence Tune, which has its own tables and warnings, and let it start all its actors at the same time."""
    wanted = _ENVIRONMENT | {"TUNE_MAX_PENDING_TRIALS_PG": str(places)}
    before = {name: os.environ.get(name) for name in wanted}
    loggers = [logging.getLogger(name) for name in ("ray.tune", "ray.train", "ray.air")]
    levels = [logger.level for logger in loggers]
    os.environ.update(wanted)
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _keys_kept() -> Iterator[None]:
    """Keep this process's keys of AWS out of Ray's records: Tune makes them part of each actor's runtime environment,
    which Ray logs and its dashboard shows. Nodes need keys, or a role, of their own to tile and to train as well.
    """
    given = class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.ENV_VARS_TO_PROPAGATE = {name for name in given if not name.startswith("AWS_")}
    try:
        yield
    finally:
        class_cache.ENV_VARS_TO_PROPAGATE = given
