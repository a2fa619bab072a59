"""Make one checkpoint: an init's weights as they are, or trained further by a method."""

import json
import threading
import time
from collections.abc import Sequence
from typing import Any

from raysweep.backbones.checkpoint import CheckpointInfo, read_info, save_checkpoint
from raysweep.backbones.init import Initial, initial_weights
from raysweep.errors import WorkError
from raysweep.patches.read import PatchSet
from raysweep.pretrain.inputs import Settings, make_method, settings
from raysweep.pretrain.source import SourceInput
from raysweep.pretrain.spec import CheckpointSpec
from raysweep.progress import Progress, Stage
from raysweep.randomness import stable_hash
from raysweep.storage import MANIFEST, Artefact, Storage

_POLL_SECONDS = 1.0


def pretrain(
    spec: CheckpointSpec,
    artefact: Artefact,
    *,
    name: str,
    init: Storage | None,
    sources: Sequence[SourceInput],
    seed: int,
    pretraining_seed: int,
    workers: int,
    threads: int,
    progress: Progress,
) -> None:
    """Make a checkpoint and commit its artefact; called again after a kill, it goes on from the last epoch kept.

    Args:
        spec: the checkpoint's entry in the study.
        artefact: where it is made (`inputs.checkpoint_inputs` gives its inputs).
        name: the checkpoint's, to show.
        init: folder of the checkpoint that it starts from; None: `spec.init` is random, timm, hf-hub or a file.
        sources: what it draws from; nothing without a method.
        seed: the study's.
        pretraining_seed: which of the checkpoint's independent pretrainings this is.
        workers: DDP ranks; with GPUs, at most one for each. With a method, Ray is initialised by the caller.
        threads: CPU threads of each worker.
        progress: where it shows itself.

    Raises RequestError (unfit init, options, labels or batch) or WorkError (no download, workers that die).
    """
    started = time.monotonic()
    own_seed = stable_hash(seed, "pretraining", pretraining_seed)
    chosen = settings(spec)
    if chosen is None:
        initial = _initial(spec, init, own_seed, name, progress)
        save_checkpoint(artefact.folder, initial.weights, _start(initial, init, pretraining_seed))
        counts: dict[str, Any] = {"dropped_keys": initial.dropped, "missing_keys": initial.missing}
        epochs_seconds = 0.0
    else:
        [source] = sources  # `check_method` has refused more
        if source.task is not None:
            raise WorkError(f"patches: {source.name} is a labelled set, which no method can be trained on yet")
        start = artefact.folder.at("resume", "start")
        if not start.exists("keys.json"):  # made once: a resume downloads nothing
            initial = _initial(spec, init, own_seed, name, progress)
            save_checkpoint(start, initial.weights, _start(initial, init, pretraining_seed))
            start.write_json({"dropped_keys": initial.dropped, "missing_keys": initial.missing}, "keys.json")
        counts = start.read_json("keys.json")
        history = _train(chosen, artefact, start, PatchSet(source.folder), name, own_seed, workers, threads, progress)
        counts |= {"epochs": len(history), "images": sum(line["images"] for line in history)}
        epochs_seconds = sum(line["epoch_seconds"] for line in history)
    artefact.commit(
        config={
            **spec.model_dump(mode="json"),
            "init": _by_name(spec.init),
            "patches": [_by_name(source) for source in spec.sources],
            "training": chosen and chosen.model_dump(mode="json"),
        },
        counts=counts,
        timings={"pretrain_seconds": time.monotonic() - started, "epochs_seconds": epochs_seconds},
    )
    artefact.folder.remove("resume")


def _by_name(path: str) -> str:
    """A file or folder without where it is on this machine; other words as they are."""
    return path.rpartition("/")[2] if path.startswith("/") else path


def _initial(spec: CheckpointSpec, init: Storage | None, seed: int, name: str, progress: Progress) -> Initial:
    initial = initial_weights(spec.init, spec.backbone, seed=seed, parent=init, licence=spec.licence)
    for what, keys in (("dropped", initial.dropped), ("missing", initial.missing)):
        if keys:
            progress.say(
                f"{name}: {len(keys)} keys {what} in {spec.init}: {', '.join(keys[:8])}{' ...' * (len(keys) > 8)}"
            )
    return initial


def _start(initial: Initial, parent: Storage | None, pretraining_seed: int) -> CheckpointInfo:
    """What the weights are before any training."""
    if parent is None:
        return initial.info.model_copy(update={"pretraining_seed": pretraining_seed})
    return initial.info.model_copy(
        update={
            "init": f"checkpoint:{parent.read_json(MANIFEST)['fingerprint']}",
            "method": None,
            "patches": None,
            "epochs": None,
            "pretraining_seed": pretraining_seed,
            "parents": initial.info.lineage(),
        }
    )


def _train(
    chosen: Settings, artefact: Artefact, start: Storage, patches: PatchSet, name: str, seed: int,
    workers: int, threads: int, progress: Progress,
) -> list[dict[str, Any]]:  # fmt: skip
    from raysweep.patches.order import Order
    from raysweep.pretrain.batches import TrainingRows
    from raysweep.pretrain.fit import fit
    from raysweep.pretrain.loop import Job

    method = make_method(chosen.method, chosen.options)
    rows = TrainingRows(patches, labelled=method.needs_labels)
    order = Order(rows.rows, batch=chosen.batch, seed=seed)
    before = read_info(start)
    px = chosen.px or patches.px
    recipes = method.views(px)
    zoom = sum(recipe.zoom * px / recipe.px for recipe in recipes) / len(recipes)
    info = before.model_copy(
        update={
            "mpp": patches.mpp and patches.mpp * patches.px / px * zoom,
            "px": px,
            "method": chosen.method,
            "sources": sorted({*before.sources, *rows.sources}),
            "patches": patches.fingerprint,
            "epochs": chosen.epochs,
        }
    )
    job = Job(chosen, info, start, patches.folder, artefact.folder, seed, threads)
    total = chosen.epochs * order.steps * chosen.batch
    with progress.stage(f"pretrain {name}", total, "images") as stage, _Watch(artefact.folder, stage):
        fit(job, name=artefact.fingerprint[:8], workers=workers)
    return _history(artefact.folder)


def _history(folder: Storage) -> list[dict[str, Any]]:
    if not folder.exists("metrics.jsonl"):
        return []
    return [json.loads(line) for line in folder.read_bytes("metrics.jsonl").splitlines()]


class _Watch:
    """Shows what rank 0 writes while it trains."""

    def __init__(self, folder: Storage, stage: Stage) -> None:
        self._folder, self._stage = folder, stage
        self._shown = len(_history(folder))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._ended.wait(_POLL_SECONDS):
            self._look()

    def _look(self) -> None:
        try:
            history = _history(self._folder)
            live = self._folder.read_json("resume", "live.json") if self._folder.exists("resume", "live.json") else {}
        except OSError:  # a look that comes to nothing; the next one will do
            return
        images = max(live.get("images", 0), sum(line["images"] for line in history))
        if images > self._stage.done:
            self._stage.advance(images - self._stage.done)
        for line in history[self._shown :]:
            figures = [f"{k} {v:.4g}" for k, v in line.items() if k not in ("epoch", "images") and "seconds" not in k]
            self._stage.note(f"{self._stage.name}: epoch {line['epoch']} · {' · '.join(figures)}")
        self._shown = len(history)
