"""The sides of comparisons where one task serves many settings: its features, and its decoded images."""

import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

from raysweep.storage import Artefact, Storage
from raysweep.sweep.cell import Cell, Repeat
from raysweep.sweep.space import default_of
from raysweep.sweep.trial import Bench, TransferTrial
from raysweep.transfer.features import compute_features, features_inputs
from raysweep.transfer.spec import TransferSpec
from tests.benchmarks.search_cells import Trainer, noise, save_weights, tiny_cells

_EDGE = 512  # pixels, of an image in `memory`; networks see half of it at a time


def linear(folder: str, images: int, settings: int, threads: int) -> dict[str, Any]:
    """Seconds of a frozen run of `linear`: the features of all images, then a path of settings, a fit and the test.

    ResNet-18 with weights by chance, images of 224 px.
    """
    home = Path(folder)
    task = noise(home, images, 224, edge=224, apart=25.0)
    checkpoint = save_weights(home / "checkpoint", "resnet18")
    features = Artefact(Storage.open(home / "features"), features_inputs("c", "t"))
    # from 1e-6 to 1e3, the ends of the shipped path
    values = [10 ** (-6 + 9 * i / (settings - 1)) for i in range(settings)]
    path = {"values": values, "default": values[0]}
    transfer = TransferSpec(repeats=1)
    artefact = Artefact(Storage.open(home / "cell"), {"of": "a benchmark"}, "0")
    repeat = Repeat(0, artefact, 0, (checkpoint,), (features.folder,))
    cell = Cell("c", "pictures", task, "linear", "classification", 1.0, {"C": path}, (repeat,))
    data, root = f"{folder}/data", artefact.folder.root
    actor = TransferTrial.__new__(TransferTrial)
    began = time.perf_counter()
    compute_features(checkpoint, task, features, data=data, threads=threads, gpu=False)
    extracted = time.perf_counter()
    config = {"repeat": root, "fold": 0, "final": 0, "params": cell.space}
    actor.setup(config, Bench({root: (cell, repeat)}, transfer, 0, data, threads, False))
    said = json.loads(actor.step()["said"])
    ended = time.perf_counter()
    final = said["final"]
    assert final, said
    assert len(final["evaluations"]) == settings
    return {"features": extracted - began, "whole": ended - began, "chosen": final["params"]["C"],
            "value": max(e["val_metric"] for e in final["evaluations"])}  # fmt: skip


def memory(folder: str, trials: int, images: int) -> dict[str, Any]:
    """Memory of trials at once, each in a process of its own, that have all seen a task's images but those of its test.

    It is looked at when the last of them is trained and all still hold what they hold: pages that processes share
    count once. A peak would say more of when trials happen to decode at the same time.
    """
    task = noise(Path(folder), images, _EDGE // 2, edge=_EDGE)
    cells, transfer = tiny_cells(Path(folder), trials, 1, 30, task)
    transfer = transfer.model_copy(update={"evaluations": 1})
    context = multiprocessing.get_context("spawn")
    together, held = context.Barrier(trials), context.SimpleQueue()
    how = (transfer, f"{folder}/data", together, held)
    workers = [context.Process(target=_train, args=(cell, *how)) for cell in cells]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not any(worker.exitcode for worker in workers)
    mib = sum(held.get() for _ in workers)
    return {"mib": mib, "pixels_mib": images * 0.75 * _EDGE * _EDGE * 3 / 2**20}


def _train(cell: Cell, transfer: TransferSpec, data: str, together: Any, held: Any) -> None:
    trainer = Trainer([cell], transfer, data)
    try:
        together.wait()
        trainer.curve(cell.repeats[0], default_of(cell.space), 0)
        together.wait()  # what each has is there at the same time
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        held.put(next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024)
        together.wait()
    except BaseException:
        together.abort()
        raise
