"""raysweep's sides of `pretraining`, and its own loop without what is measured. Each runs in a fresh process."""

import csv
import multiprocessing as mp
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.pairs import READY

PX = 224
BATCH = 64
_RAY: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "object_store_memory": 2**29}


def write_patches(folder: Path, rows: int) -> str:
    """A patch set of `rows` 224 px crops from all GlaS images, labelled; the folder it is in."""
    import numpy as np
    import pyarrow as pa
    from PIL import Image

    from raysweep.patches.codec import encode_jpeg
    from raysweep.patches.schema import patch_schema
    from raysweep.patches.write import write_patch_set
    from raysweep.randomness import stable_hash
    from raysweep.storage import Artefact, Storage

    data = Path(os.environ["RAYSWEEP_TEST_DATA"]) / "glas"
    classes = ("benign", "malignant")
    with open(data / "patches_224.csv", newline="") as table:
        known = {row["name"]: row for row in csv.DictReader(table)}
    places = np.random.default_rng(0)
    found = []
    for number, (name, row) in enumerate(sorted(known.items())):
        (path,) = (data / "images").glob(f"{name}.*")
        image = np.asarray(Image.open(path).convert("RGB"))
        for _ in range(rows * number // len(known), rows * (number + 1) // len(known)):
            y, x = (int(places.integers(edge - PX + 1)) for edge in image.shape[:2])
            found.append({
                "image": {"bytes": encode_jpeg(image[y : y + PX, x : x + PX], 90), "path": f"{name}-{len(found)}.jpg"},
                "slide": name, "patient": row["patient_id"], "x": x, "y": y, "mpp": 0.62, "source_mpp": 0.62,
                "tissue": 1.0, "label": classes.index(row["label"]), "mask": None, "split": "train",
                "key": stable_hash("benchmark", len(found)),
            })  # fmt: skip
    artefact = Artefact(Storage.open(folder), {"rows": rows})
    made = pa.Table.from_pylist(found, schema=patch_schema(classes))
    write_patch_set(artefact, made, config={"um": PX * 0.62, "px": PX}, shards=4)
    return artefact.folder.root


def make_job(out: str, patches: str, *, threads: int = 1, save: int = 10**9, **keys: Any):
    """A training from a random start, as the launcher would make it. `save`: steps between states."""
    from raysweep.backbones.checkpoint import save_checkpoint
    from raysweep.backbones.init import initial_weights
    from raysweep.pretrain.inputs import settings
    from raysweep.pretrain.loop import Job
    from raysweep.pretrain.source import SourceInput
    from raysweep.pretrain.spec import CheckpointSpec
    from raysweep.pretrain.team import Saving
    from raysweep.storage import Storage

    spec = CheckpointSpec(patches="glas", **keys)
    initial = initial_weights("random", spec.backbone, seed=0)
    folder, chosen = Storage.open(out), settings(spec)
    assert chosen
    start = folder.at("resume", "start")
    save_checkpoint(start, initial.weights, initial.info)
    info = initial.info.model_copy(update={"px": spec.px})
    source = SourceInput("glas", Storage.open(patches))
    return Job(chosen, info, start, (source,), folder, 0, threads, saving=Saving(steps=save))


def _epochs(job: Any) -> dict[str, Any]:
    """Of every epoch but the first: seconds, images in each second, and the part of the time spent waiting for data."""
    from raysweep.pretrain.watch import history_of

    lines = history_of(job.out)[1:]
    seconds = [line["epoch_seconds"] for line in lines]
    rate = sum(line["images"] for line in lines) / sum(seconds)
    return {"seconds": seconds, "rate": rate, "waiting": sum(line["wait_seconds"] for line in lines) / sum(seconds)}


def loop(**given: Any) -> dict[str, Any]:
    """The loop in this process alone."""
    from raysweep.pretrain.loop import train

    device = given.pop("device", "cpu")
    with tempfile.TemporaryDirectory() as out:
        job = make_job(out, **given)
        train(job, device=device)
        return _epochs(job)


def step_ray(workers: int, **given: Any) -> dict[str, Any]:
    """The loop under Ray Train."""
    import ray

    from raysweep.pretrain.fit import fit
    from raysweep.pretrain.team import Team

    ray.init("local", num_cpus=2, **_RAY)
    with tempfile.TemporaryDirectory() as out:
        job = make_job(out, **given)
        fit(job, Team(workers=workers, threads=1), say=lambda what: print(what, file=sys.stderr))
        made = _epochs(job)
    ray.shutdown()
    return made


def step_plain(workers: int, **given: Any) -> dict[str, Any]:
    """The same loop in processes of a gloo group, as torchrun would start them."""
    with tempfile.TemporaryDirectory() as out:
        job = make_job(out, **given)
        context = mp.get_context("spawn")
        where = f"file://{out}/store"
        ranks = [context.Process(target=_rank, args=(job, rank, workers, where)) for rank in range(workers)]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join()
        if any(process.exitcode for process in ranks):
            raise SystemExit("a rank has failed")
        return _epochs(job)


def _rank(job: Any, rank: int, world: int, store: str) -> None:
    import torch.distributed as dist

    from raysweep.pretrain.loop import train

    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    train(job, rank=rank, world=world)
    dist.destroy_process_group()


def loader_ours(patches: str, steps: int) -> dict[str, Any]:
    """Threads of the worker: pictures as they are stored, for every step."""
    from raysweep.patches.mixture import Mixture
    from raysweep.patches.recipe import Recipe
    from raysweep.pretrain.batches import ThreadLoader
    from raysweep.pretrain.reader import Reader
    from raysweep.pretrain.rows import TrainingRows
    from raysweep.pretrain.source import SourceInput
    from raysweep.storage import Storage

    print(READY, flush=True)
    started = time.perf_counter()
    rows = TrainingRows(SourceInput("glas", Storage.open(patches)), labelled=False, split_seed=0)
    mixture = Mixture([rows.rows], [1.0], batch=BATCH, seed=0)
    reader = Reader([rows], [Recipe(PX, turn=False)], seed=0, capacity=mixture.groups_to_keep(0, BATCH))
    return time_batches(ThreadLoader(reader, mixture, share=(0, BATCH), threads=2).steps(0, steps), steps, started)


def time_batches(batches: Any, steps: int, started: float) -> dict[str, Any]:
    """Seconds to the first batch, and images in each second of the last two thirds: what was made ahead is used up."""
    first = began = 0.0
    for number, _ in enumerate(batches):
        now = time.perf_counter()
        first = first or now
        if number == steps // 3:
            began = now
        if number + 1 == steps:
            break
    return {"first": first - started, "rate": (steps - 1 - steps // 3) * BATCH / (time.perf_counter() - began)}


def data_threads(patches: str, steps: int) -> dict[str, Any]:
    """SimCLR's crops by two threads of the worker."""
    from raysweep.pretrain.batches import ThreadLoader

    return _prepare(patches, steps, lambda job, *parts: ThreadLoader(*parts[:2], share=parts[2], threads=2))


def data_ray(patches: str, steps: int) -> dict[str, Any]:
    """The same by Ray Data, with two CPUs."""
    import ray

    from raysweep.pretrain.data_path import DataLoader

    ray.init("local", num_cpus=2, **_RAY)
    made = _prepare(patches, steps, lambda job, *parts: DataLoader.of(job)(*parts))
    ray.shutdown()
    return made


def _prepare(patches: str, steps: int, make: Any) -> dict[str, Any]:
    from raysweep.pretrain.inputs import make_method
    from raysweep.pretrain.loop import open_rows, plan_steps
    from raysweep.pretrain.reader import Reader

    with tempfile.TemporaryDirectory() as out:
        job = make_job(out, patches, method="simclr", backbone="test_resnet", px=PX, batch=BATCH, epochs=100)
        rows = open_rows(job)
        mixture, share = plan_steps(job, rows), (0, BATCH)
        recipes = make_method("simclr", {}).views(PX)
        reader = Reader(rows, recipes, seed=0, capacity=mixture.groups_to_keep(*share))
        started = time.perf_counter()
        return time_batches(make(job, reader, mixture, share).steps(0, steps), steps, started)


def gpu_fixed(steps: int, device: str = "cuda", **keys: Any) -> dict[str, Any]:
    """The step of the loop on random views that are on the device already."""
    import numpy as np
    import torch

    from raysweep.backbones.create import create_backbone
    from raysweep.pretrain.batch import Batch
    from raysweep.pretrain.inputs import make_method, settings
    from raysweep.pretrain.loop import build_module
    from raysweep.pretrain.method import SourceClasses, TrainingProgress
    from raysweep.pretrain.optimiser import Optimiser
    from raysweep.pretrain.parallel import shared_step
    from raysweep.pretrain.spec import CheckpointSpec

    spec = CheckpointSpec(patches="glas", steps=steps, **keys)
    chosen = settings(spec)
    assert chosen
    method = make_method(chosen.method, chosen.options)
    place = torch.device(device)
    module = build_module(method, create_backbone(spec.backbone, seed=0), [SourceClasses("glas", ())], 0)
    module = module.to(place, memory_format=torch.channels_last).train()
    step_of = shared_step(method, module, place, 1, half=True, compile=False)
    optimiser = Optimiser(method, module, chosen)
    n, px = chosen.batch, spec.px or PX
    views = [torch.randn(n, 3, px, px, device=place) for _ in method.views(px)]
    nothing = torch.zeros(n, dtype=torch.int64, device=place)
    batch = Batch(views, nothing, nothing, np.arange(n, dtype=np.uint64), 0, 0)
    began = 0.0
    for step in range(steps):
        if step == steps // 3:  # what goes before chooses kernels and grows the memory pool
            _settle(place)
            began = time.perf_counter()
        progress = TrainingProgress(step, steps, 0, 1)
        optimiser.lead(progress)
        optimiser.torch.zero_grad(set_to_none=True)
        method.before_step(module, progress)
        loss, _ = step_of(batch, progress)
        loss.backward()
        method.after_backward(module, progress)
        optimiser.step()
        method.after_step(module, progress)
    _settle(place)
    return {"rate": (steps - steps // 3) * n / (time.perf_counter() - began)}


def _settle(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
