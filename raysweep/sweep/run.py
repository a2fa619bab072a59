"""Search every cell of a study and run its finals, as one Tune experiment."""

import contextlib
import logging
import math
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import ray
from ray import tune

from raysweep.errors import reason_of
from raysweep.progress import Progress
from raysweep.sweep.board import Board
from raysweep.sweep.cell import Cell
from raysweep.sweep.finish import finish_cell
from raysweep.sweep.lane import Lane
from raysweep.sweep.scheduler import CellScheduler
from raysweep.sweep.searcher import CellSearcher
from raysweep.sweep.state import FAILED
from raysweep.sweep.trial import Bench, TransferTrial
from raysweep.tasks.card import Card
from raysweep.tasks.splits import folds
from raysweep.tasks.task import Task
from raysweep.transfer.spec import TransferSpec

_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV, JSON and TensorBoard files for every trial
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # the journals are the state: Tune's snapshots are not wanted
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints tables even when verbose=0
}


def search(
    cells: list[Cell],
    transfer: TransferSpec,
    *,
    study: str,
    seed: int,
    threads: int,
    trials_at_once: int | None = None,
    scratch: Path | None = None,
    progress: Progress,
) -> list[str]:
    """Search all cells, run their finals and commit each cell as soon as it is finished. Ray is initialised.

    Whatever is on record in a cell's journals is not repeated; the results are those of a run that was never
    killed, whatever `trials_at_once` is.

    Args:
        cells: their fingerprints' inputs are what `cell_inputs` gave; finished cells are skipped.
        transfer: protocols and budget.
        study: name of the study, for the result rows.
        seed: the study's.
        threads: CPU threads of a trial; part of what makes results the same to the bit.
        trials_at_once: trials and finals in flight over all cells. Default: one per `threads` CPUs of the cluster,
            or one per GPU where there are any. More than there are GPUs share them.
        scratch: a local folder for Tune's own files; default: a temporary one.
        progress: where to show it.

    Returns the names of the cells that failed; the reason is in `failed.json` in the cell's folder.
    Raises WorkError when the journals cannot be written, KeyboardInterrupt when interrupted.
    """
    todo = [cell for cell in cells if not cell.artefact.done()]
    cards, lanes, broken = _open_lanes(todo, transfer, seed)
    resources, places = _resources(threads, trials_at_once)
    bench = Bench({c.artefact.folder.root: c for c in todo}, transfer, seed, threads, gpu="gpu" in resources)

    def finish(cell: Cell, lanes: list[Lane]) -> None:
        finish_cell(cell, lanes, cards[cell.task_folder.root], transfer, study=study)

    with progress.stage("search", sum(lane.left for lane in lanes), "trials") as stage, _scratch(scratch) as folder:
        board = Board(lanes, finish, stage, places)
        for cell, reason in broken:
            board.fail(cell, reason)
        if not board.done:
            _fit(board, bench, resources, places, folder)
    return [cell.name for cell in cells if cell.name in board.failed]


def _open_lanes(
    cells: list[Cell], transfer: TransferSpec, seed: int
) -> tuple[dict[str, Card], list[Lane], list[tuple[Cell, str]]]:
    """Cards by task folder, the lanes of all cells, and the cells that cannot be started with the reason."""
    tasks: dict[str, tuple[Card, int]] = {}
    lanes: list[Lane] = []
    broken = []
    for cell in cells:
        root = cell.task_folder.root
        try:
            cell.artefact.folder.remove(FAILED)
            if root not in tasks:
                task = Task.load(cell.task_folder)
                tasks[root] = task.card, len(folds(task, seed))
            n = tasks[root][1]
            lanes += [Lane(cell, fold, n, transfer, cell.artefact.inputs["space"], seed) for fold in range(n)]
        except Exception as error:
            broken.append((cell, reason_of(error)))
    return {root: card for root, (card, _) in tasks.items()}, lanes, broken


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
    searcher = CellSearcher(board)
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
            name=f"search-{uuid.uuid4().hex[:8]}",
            storage_path=str(folder),
            verbose=0,
            # the board repeats what died, as another Tune trial: Tune itself gives up a trial whose actor dies while
            # it is being reset for it
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    with _quiet(places):
        try:
            tuner.fit()
        except Exception:
            if board.error is not None:
                raise board.error from None
            raise
    if board.error is not None:
        raise board.error
    if not board.done:
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
