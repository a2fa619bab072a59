"""The sides of the search's comparisons: each runs in a process of its own and answers with figures."""

import importlib
import os
import statistics
import time
from pathlib import Path
from typing import Any

from raysweep.progress import Progress
from raysweep.sweep.board import Board
from raysweep.sweep.cell import Cell
from raysweep.sweep.journal import Event, Journal
from raysweep.sweep.lane import Lane
from raysweep.sweep.trial import Bench
from raysweep.transfer.spec import TransferSpec
from tests.benchmarks.search_cells import SPACE, Trainer, tiny_cells

_EVALUATION = {"step": 10, "train_loss": 0.0, "val_loss": 0.1, "val_metric": 0.5}


def starts(folder: str, lanes: int, rounds: int) -> dict[str, Any]:
    """Work is given out and done, four places at a time, on a board of so many lanes; nothing trains.

    Times are the processor's. What a disk takes to make a journal's lines durable is counted: it has nothing to do with
    lanes. So are the libraries that choose settings, which a search imports once.
    """
    from ray import cloudpickle

    from raysweep.sweep import run
    from tests.sweep.toy import toy_cells

    began = time.process_time()
    importlib.import_module("scipy.stats.qmc")
    importlib.import_module("optuna.samplers").TPESampler(seed=0)
    imports = time.process_time() - began

    transfer = TransferSpec(trials=8, repeats=lanes // 10, steps=10, evaluations=1)
    cells = toy_cells(Path(folder), transfer, checkpoints="abcdefghij")
    began = time.process_time()
    _, opened, _ = run.open_lanes(cells, transfer, 0, "/nowhere")
    opening = time.process_time() - began
    bench = Bench({r.artefact.folder.root: (c, r) for c in cells for r in c.repeats}, transfer, 0, "", 1, False)
    peek, looked, synced = Lane.peek, [0], [0]
    begin, inside = Lane.start, [0.0]

    def counted(lane: Lane) -> Any:
        looked[0] += 1
        return peek(lane)

    def timed(lane: Lane) -> Any:
        began = time.process_time()
        work = begin(lane)
        inside[0] += time.process_time() - began
        return work

    def sync(descriptor: int) -> None:
        synced[0] += 1

    with Progress(quiet=True).stage("search", None, "trials") as stage:
        board = Board(opened, lambda cell, repeat, lanes: None, stage, 4)
        Lane.peek, Lane.start, os.fsync = counted, timed, sync  # type: ignore[method-assign]
        seconds, kinds, busy = [], [], []
        for number in range(rounds):
            began = time.process_time()
            given = board.start(str(number))
            seconds.append(time.process_time() - began)
            assert given is not None
            lane, work = given
            kinds.append(work.kind)
            busy.append((str(number), lane, work))
            if len(busy) == 4:
                _done(board, *busy.pop(0))
    return {
        "ms": statistics.mean(seconds) * 1e3,
        "choosing_ms": (sum(seconds) - inside[0]) / rounds * 1e3,
        "synced": synced[0] / rounds,
        "looked": looked[0] / rounds,
        "opening_ms": opening / len(opened) * 1e3,
        "bench_bytes": len(cloudpickle.dumps(bench)) / len(opened),
        "imports_s": imports,
        "finals": kinds.count("final"),
    }


def _done(board: Board, key: str, lane: Lane, work: Any) -> None:
    said: dict[str, Any] = {"evaluation": _EVALUATION, "steps": 10, "seconds": 1.0, "last": True,
                            "failed": "", "lost": "", "refused": "", "final": None}  # fmt: skip
    if work.kind == "final":
        lane.repeat.artefact.folder.write_bytes(b"", "parts", f"{lane.fold}.parquet")
        said["final"] = {"params": work.params, "evaluations": [], "predictions": f"parts/{lane.fold}.parquet",
                         "reason": "", "seconds": 1.0}  # fmt: skip
    board.result(key, said)
    board.release(key)


def tune(folder: str, trials: int) -> dict[str, Any]:
    """A search of so many trials that take no time, with their finals, under Ray Tune."""
    from tests.sweep.toy import toy_cells, toy_search

    transfer = TransferSpec(trials=10, repeats=trials // 20, steps=10, evaluations=1, early_stopping="none")
    cells = toy_cells(Path(folder), transfer, checkpoints="ab")
    _ray(2)
    began = time.perf_counter()
    found = toy_search(cells, transfer, at_once=2, scratch=Path(folder) / "scratch")
    assert not found.failed
    return {"seconds": time.perf_counter() - began}


def overhead_search(folder: str, trials: int, steps: int) -> dict[str, Any]:
    """Seconds of each trial but the first, one after another, as `search` runs them; and where their journals are."""
    from raysweep.sweep.run import search

    cells, transfer = tiny_cells(Path(folder), 1, trials, steps)
    told = _times_of("told")
    _ray(1)
    found = search(cells, transfer, **_wanted(folder), trials_at_once=1)
    assert not found.failed
    return {"each": (told[-1] - told[0]) / (len(told) - 1)}


def overhead_plain(folder: str, trials: int, steps: int) -> dict[str, Any]:
    """Seconds of each trial but the first in a plain loop over the same settings."""
    cells, transfer = tiny_cells(Path(folder), 1, trials, steps)
    events = Journal(cells[0].repeats[0].artefact.folder.at("journal"), "fold0").read()
    settings = [(e["trial"], e["params"]) for e in events if e["event"] == "asked" and "trial" in e]
    trainer, ends = Trainer(cells, transfer, f"{folder}/data"), []
    for number, params in settings:
        trainer.curve(cells[0].repeats[0], params, number)
        ends.append(time.perf_counter())
    assert len(ends) == trials
    return {"each": (ends[-1] - ends[0]) / (trials - 1)}


def tuners_ours(folder: str, cells: int, trials: int, steps: int) -> dict[str, Any]:
    """All cells in one search, two trials at once; their finals are run as well."""
    from raysweep.sweep.run import search

    made, transfer = tiny_cells(Path(folder), cells, trials, steps)
    _ray(2)
    began = time.perf_counter()
    found = search(made, transfer, **_wanted(folder), trials_at_once=2)
    assert not found.failed
    return {"seconds": time.perf_counter() - began}


def tuners_peer(folder: str, cells: int, trials: int, steps: int) -> dict[str, Any]:
    """A Tuner with OptunaSearch for each cell, one after another, two trials at once; no finals."""
    from ray import tune as ray_tune
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.optuna import OptunaSearch

    made, transfer = tiny_cells(Path(folder), cells, trials, steps)
    space = {name: (ray_tune.loguniform if e["log"] else ray_tune.uniform)(e["low"], e["high"])
             for name, e in SPACE.items()}  # fmt: skip
    _ray(2)
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    began = time.perf_counter()
    for cell in made:

        def train(config: dict[str, Any], cell: Cell = cell) -> None:
            for evaluation in Trainer([cell], transfer, f"{folder}/data").curve(cell.repeats[0], dict(config), 0):
                ray_tune.report(evaluation)

        searcher = ConcurrencyLimiter(OptunaSearch(metric="val_metric", mode="max", seed=0), 2)
        ray_tune.Tuner(
            ray_tune.with_resources(train, {"cpu": 1}),
            param_space=space,
            tune_config=ray_tune.TuneConfig(search_alg=searcher, num_samples=trials),
            run_config=ray_tune.RunConfig(storage_path=f"{folder}/peer", verbose=0),
        ).fit()
    return {"seconds": time.perf_counter() - began}


def _wanted(folder: str) -> dict[str, Any]:
    return {"study": "tiny", "seed": 0, "data": f"{folder}/data", "threads": 1, "progress": Progress(quiet=True)}


def _times_of(event: str) -> list[float]:
    """Fills with the times at which events of this kind are on record."""
    append, times = Journal.append, []

    def noted(journal: Journal, said: Event) -> None:
        append(journal, said)
        if said["event"] == event:
            times.append(time.perf_counter())

    Journal.append = noted  # type: ignore[method-assign]
    return times


def _ray(cpus: int) -> None:
    import ray

    ray.init("local", num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
