"""Features of a frozen backbone: computed once per (checkpoint, task), read by every setting of a frozen protocol."""

import time
from typing import Any

import numpy as np
import pyarrow as pa

from raysweep.errors import WorkError
from raysweep.storage import Artefact, Storage

FORMAT = 1
_FILE = "features.parquet"  # sample: string; features: fixed-size list of float32
_BATCH = 64


def features_inputs(checkpoint: str, task: str) -> dict[str, Any]:
    """What the fingerprint of features covers, from the fingerprints of checkpoint and task."""
    return {"format": FORMAT, "checkpoint": checkpoint, "task": task}


def compute_features(
    checkpoint: Storage, task: Storage, artefact: Artefact, *, data: str, threads: int, gpu: bool
) -> None:
    """Write the features of all samples of a task into `artefact.folder` and commit it.

    A sample larger than the card's px has the mean over its windows. Full precision, on a GPU too. `data` is the
    folder that the task's own folder stands in.
    Raises RequestError when the backbone cannot take images of that size, WorkError for an unreadable sample.
    """
    import torch

    from raysweep.backbones.checkpoint import load_checkpoint
    from raysweep.transfer.images import open_images
    from raysweep.transfer.network import feature_count
    from raysweep.transfer.preprocess import Preprocess
    from raysweep.transfer.windows import average_windows

    started = time.monotonic()
    torch.set_num_threads(threads)
    images = open_images(task, data)
    backbone, info = load_checkpoint(checkpoint)
    size = feature_count(backbone, info.backbone, images.task.card.px)
    device = torch.device("cuda" if gpu else "cpu")
    backbone = backbone.to(device).eval()
    preprocess = Preprocess(info.mean, info.std, device)

    @torch.inference_mode()
    def forward(pixels: np.ndarray) -> np.ndarray:
        return backbone(preprocess(pixels)).cpu().numpy()

    samples = images.task.samples
    features = average_windows(images, range(len(samples)), forward, batch=_BATCH)
    if not np.isfinite(features).all():
        raise WorkError(f"backbone {info.backbone}: features of the task are not finite; its weights are damaged")
    column = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), size)
    table = pa.table({"sample": [sample.id for sample in samples], "features": column})
    artefact.folder.write_table(table, _FILE)
    artefact.commit(
        config={"backbone": info.backbone, "task": images.task.card.name, "px": images.task.card.px},
        counts={"samples": len(samples), "features": size},
        timings={"feature_seconds": time.monotonic() - started},
    )


def read_features(folder: Storage) -> tuple[list[str], np.ndarray]:
    """Sample ids and features float32 (n, d) that `compute_features` wrote. Raises WorkError when there are none."""
    if not folder.exists(_FILE):
        raise WorkError(f"{folder.path(_FILE)}: features have not been computed")
    table = folder.read_table(_FILE)
    column = table["features"].combine_chunks()
    return table["sample"].to_pylist(), column.flatten().to_numpy().reshape(table.num_rows, -1)
