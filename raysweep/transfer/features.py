"""Features of a frozen backbone: computed once per (checkpoint, task), read by every setting of a frozen protocol."""

import io
import tempfile
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from raysweep.errors import WorkError
from raysweep.storage import Artefact, Storage

if TYPE_CHECKING:
    import torch

    from raysweep.tasks.card import Card
    from raysweep.transfer.images import Images

FORMAT = 2
_FILE = "features.npy"  # float32 (n, d): mapped into memory, so that readers on one machine share its pages
_SAMPLES = "samples.parquet"  # sample: string, the id of each row
FEATURES_BATCH = 64
_COPIED = 2**24  # bytes fetched at once


def features_inputs(checkpoint: str, task: str, px: int | None = None) -> dict[str, Any]:
    """What the fingerprint of features covers, from the fingerprints of checkpoint and task.

    px: of a further test set, that of the task that it is tested for, where it is not its own.
    """
    inputs = {"format": FORMAT, "checkpoint": checkpoint, "task": task}
    return inputs if px is None else {**inputs, "px": px}


def compute_features(
    checkpoint: Storage, task: Storage, artefact: Artefact, *, data: str, threads: int, gpu: bool,
    like: "Card | None" = None,
) -> None:  # fmt: skip
    """Write the features of all samples of a task into `artefact.folder` and commit it.

    A sample larger than the card's px has the mean over its windows. Full precision, on a GPU too. `data` is the
    folder that the task's own folder stands in, `like` the card of the task whose further test set it is.
    Raises RequestError when the backbone cannot take images of that size, WorkError for an unreadable sample.
    """
    import torch

    from raysweep.backbones.checkpoint import load_checkpoint
    from raysweep.transfer.images import open_images
    from raysweep.transfer.own_px import own_px

    started = time.monotonic()
    torch.set_num_threads(threads)
    images = open_images(task, data, like)
    backbone, info = load_checkpoint(checkpoint)
    own = own_px(backbone, backbone, images.task.card.px, name=info.backbone, arguments=info.arguments)
    device = torch.device("cuda" if gpu else "cpu")
    samples = images.task.samples
    features = features_of(
        backbone.to(device).eval(), images, range(len(samples)), mean=info.mean, std=info.std, device=device, own=own
    )
    if not np.isfinite(features).all():
        raise WorkError(f"backbone {info.backbone}: features of the task are not finite; its weights are damaged")
    write_features(artefact.folder, [sample.id for sample in samples], features)
    artefact.commit(
        config={"backbone": info.backbone, "task": images.task.card.name, "px": images.task.card.px, "own_px": own},
        counts={"samples": len(features), "features": features.shape[1]},
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

    return average_windows(images, indices, forward, batch=FEATURES_BATCH)


def write_features(folder: Storage, samples: Sequence[str], features: np.ndarray) -> None:
    """Write features (n, d) of samples by id, as float32."""
    sink = io.BytesIO()
    np.save(sink, np.ascontiguousarray(features, np.float32))
    folder.write_table(pa.table({"sample": pa.array(samples, pa.string())}), _SAMPLES)
    folder.write_bytes(sink.getbuffer(), _FILE)


def open_features(folder: Storage) -> tuple[pa.ChunkedArray, np.ndarray]:
    """Sample ids and features float32 (n, d) that `compute_features` wrote. Raises WorkError when there are none.

    The features are mapped, read only: nothing is read before it is looked at, and processes share what was. From
    object storage they are fetched once, into a temporary file that is gone when nobody has it open.
    """
    if not folder.exists(_FILE):
        raise WorkError(f"{folder.path(_FILE)}: features have not been computed")
    samples = folder.read_table(_SAMPLES)["sample"]
    if folder.is_local:
        return samples, np.load(folder.path(_FILE), mmap_mode="r")
    with tempfile.NamedTemporaryFile(prefix="raysweep-features-") as copy:
        with folder.open_mapped(_FILE) as source:
            while chunk := source.read(_COPIED):
                copy.write(chunk)
        copy.flush()
        return samples, np.load(copy.name, mmap_mode="r")
