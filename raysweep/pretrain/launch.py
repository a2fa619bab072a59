"""Make one checkpoint: an init's weights as they are, or trained further by a method."""

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from raysweep.backbones.checkpoint import CheckpointInfo, read_info, save_checkpoint
from raysweep.backbones.init import Initial, initial_weights
from raysweep.pretrain.inputs import make_method, settings
from raysweep.pretrain.methods import find_method
from raysweep.pretrain.probe import ProbeInput
from raysweep.pretrain.source import SourceInput, write_sources
from raysweep.pretrain.spec import CheckpointSpec
from raysweep.pretrain.team import Team
from raysweep.pretrain.watch import Watch, corrupt_patches, history_of
from raysweep.progress import Progress
from raysweep.randomness import stable_hash
from raysweep.storage import MANIFEST, Artefact, Storage

_DRAWING = threading.Lock()  # initial weights are drawn from torch's one generator, and pretrainings may begin at once

if TYPE_CHECKING:
    from raysweep.pretrain.loop import Job


def pretrain(
    spec: CheckpointSpec,
    artefact: Artefact,
    *,
    name: str,
    init: Storage | None,
    sources: Sequence[SourceInput],
    seed: int,
    pretraining_seed: int,
    team: Team,
    progress: Progress,
    study: str = "raysweep",
    probe: ProbeInput | None = None,
) -> None:
    """Make a checkpoint and commit its artefact; called again after a kill, it goes on from the last state kept.

    Args:
        spec: the checkpoint's entry in the study.
        artefact: where it is made (`inputs.checkpoint_inputs` gives its inputs).
        name: the checkpoint's, to show.
        init: folder of the checkpoint that it starts from; None: `spec.init` is random, timm, hf-hub or a file.
        sources: what its patches are drawn from; none without a method.
        seed: the study's.
        pretraining_seed: which of the checkpoint's independent pretrainings this is.
        team: who trains, and how often a state is kept. With a method, Ray is initialised by the caller.
        progress: where it shows itself.
        study: the study's name, to show in trackers.
        probe: what it is probed with while it trains.

    Raises RequestError (unfit init, options, labels or batch) or WorkError (no download, workers that die).
    """
    started = time.monotonic()
    own_seed = stable_hash(seed, "pretraining", pretraining_seed)
    chosen = settings(spec)
    if chosen is None:
        initial = _initial(spec, init, own_seed, name, progress)
        save_checkpoint(artefact.folder, initial.weights, _start(initial, init, pretraining_seed))
        if init is not None:  # what comes after it finds what came before it
            write_sources(artefact.folder, [], labels=False, parent=init, split_seed=seed)
        counts: dict[str, Any] = initial.misfits
        epochs_seconds = 0.0
    else:
        start = artefact.folder.at("resume", "start")
        if not start.exists("keys.json"):  # made once: a resume downloads nothing
            initial = _initial(spec, init, own_seed, name, progress)
            save_checkpoint(start, initial.weights, _start(initial, init, pretraining_seed))
            start.write_json(initial.misfits, "keys.json")
        counts = start.read_json("keys.json")
        from raysweep.pretrain.loop import Job

        job = Job(
            chosen, read_info(start), start, tuple(sources), artefact.folder, own_seed, team.threads, split_seed=seed,
            saving=team.saving, compile=team.compile, name=name, study=study, probe=probe, trackers=team.trackers,
        )  # fmt: skip
        history = _train(job, team, progress)
        labels = find_method(chosen.method).needs_labels
        write_sources(artefact.folder, sources, labels=labels, parent=init, split_seed=seed)
        corrupt = corrupt_patches(artefact.folder)
        if corrupt:
            progress.say(
                f"{name}: {len(corrupt)} patches could not be decoded and others stood in for them: {corrupt[0]}"
                f"{' ...' * (len(corrupt) > 1)}"
            )
        counts |= {"epochs": len(history), "images": sum(line["images"] for line in history)}
        counts |= {"corrupt_patches": len(corrupt), "corrupt": corrupt[:20]}
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
    with _DRAWING:
        initial = initial_weights(spec.init, spec.backbone, seed=seed, parent=init, licence=spec.licence, given=spec)
    for note in initial.notes:
        progress.say(f"{name}: {spec.init}: {note}")
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


def _train(job: "Job", team: Team, progress: Progress) -> list[dict[str, Any]]:
    """Train a job whose `info` is that of its start, and return the figures of its epochs."""
    from raysweep.pretrain.fit import fit
    from raysweep.pretrain.loop import open_rows, plan_steps

    chosen, before = job.settings, job.info
    rows = open_rows(job)
    mixture = plan_steps(job, rows)
    if note := make_method(chosen.method, chosen.options).note(sum(sum(row.rows) for row in rows)):
        progress.say(f"{job.name}: {note}")
    px = chosen.px or rows[0].patches.px
    recipes = chosen.recipes(px)
    zoom = sum(recipe.zoom * px / recipe.px for recipe in recipes) / len(recipes)
    scales = [row.patches.mpp * row.patches.px if row.patches.mpp else None for row in rows]  # um along an edge
    known = scales[0] is not None and all(s is not None and abs(s / scales[0] - 1) < 0.01 for s in scales)
    steps = chosen.steps or (chosen.epochs or 1) * mixture.steps
    info = before.model_copy(
        update={
            "mpp": scales[0] / px * zoom if known and scales[0] else None,  # one scale, or none
            "px": px,
            "method": chosen.method,
            "sources": sorted({*before.sources, *(name for row in rows for name in row.seen)}),
            "patches": "+".join(row.patches.fingerprint for row in rows),
            "epochs": chosen.epochs,
            "steps": chosen.steps,
            "reference": None,  # what is trained is a work of its own, and kept
        }
    )
    job = replace(job, info=info)
    with progress.stage(f"pretrain {job.name}", steps * chosen.batch, "images") as stage, Watch(job.out, stage):
        fit(job, team, say=progress.say)
    return history_of(job.out)
