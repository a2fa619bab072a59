"""Features of a frozen backbone: computed once per (checkpoint, task), read by every setting of a frozen protocol."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from raysweep.errors import WorkError
from raysweep.storage import Artefact, Storage

if TYPE_CHECKING:
    import torch

    from raysweep.transfer.images import Images

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
    from raysweep.transfer.own_px import output_on_meta, own_px

    started = time.monotonic()
    torch.set_num_threads(threads)
    images = open_images(task, data)
    backbone, info = load_checkpoint(checkpoint)
    own = own_px(backbone, backbone, images.task.card.px, name=info.backbone, arguments=info.arguments)
    size = int(output_on_meta(backbone, own).shape[1])
    device = torch.device("cuda" if gpu else "cpu")
    samples = images.task.samples
    features = features_of(
        backbone.to(device).eval(), images, range(len(samples)), mean=info.mean, std=info.std, device=device, own=own
    )
    if not np.isfinite(features).all():
        raise WorkError(f"backbone {info.backbone}: features of the task are not finite; its weights are damaged")
    column = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), size)
    table = pa.table({"sample": [sample.id for sample in samples], "features": column})
    artefact.folder.write_table(table, _FILE)
    artefact.commit(
        config={"backbone": info.backbone, "task": images.task.card.name, "px": images.task.card.px, "own_px": own},
        counts={"samples": len(samples), "features": size},
        timings={"feature_seconds": time.monotonic() - started},
    )


def features_of(
    backbone: "torch.nn.Module", images: "Images", indices: Sequence[int], *, mean: Sequence[float],
    std: Sequence[float], device: "torch.device", own: int | None = None,
) -> np.ndarray:  # fmt: skip
    """Features float32 (n, d) of samples by index; of one larger than the card's px, the mean over its windows.

    backbone: on the device and in evaluation mode; float (n, 3, own, own), normalised by mean and std, to (n, d).
    own: the edge at which it sees a window of px edge (`own_px`); default: px.
    Raises WorkError for a sample that cannot be read.
    """
    import torch

    from raysweep.transfer.own_px import seen_at
    from raysweep.transfer.preprocess import Preprocess
    from raysweep.transfer.windows import average_windows

    preprocess = Preprocess(mean, std, device)
    px = images.task.card.px

    @torch.no_grad()  # not inference_mode: a network that is still trained may keep what it computes here
    def forward(pixels: np.ndarray) -> np.ndarray:
        return backbone(seen_at(preprocess(pixels), px, own or px)).float().cpu().numpy()

    return average_windows(images, indices, forward, batch=_BATCH)


def read_features(folder: Storage) -> tuple[list[str], np.ndarray]:
    """Sample ids and features float32 (n, d) that `compute_features` wrote. Raises WorkError when there are none."""
    if not folder.exists(_FILE):
        raise WorkError(f"{folder.path(_FILE)}: features have not been computed")
    table = folder.read_table(_FILE)
    column = table["features"].combine_chunks()
    return table["sample"].to_pylist(), column.flatten().to_numpy().reshape(table.num_rows, -1)
