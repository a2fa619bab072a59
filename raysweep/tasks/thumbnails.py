"""Small pictures of the test images that a report may draw, with their true masks."""

import io

import numpy as np
import pyarrow as pa
from PIL import Image

from raysweep.storage import Storage
from raysweep.tasks.masks import encode_mask
from raysweep.tasks.read import read_sample
from raysweep.tasks.shown import shown_samples
from raysweep.tasks.splits import folds
from raysweep.tasks.task import Task

FORMAT = 1  # raise it when the same image would become another thumbnail; old ones are then made anew
THUMBNAIL_PX = 256  # the long edge, at most: 100 of them are about 2 MB
_QUALITY = 90
_SCHEMA = pa.schema(
    [
        ("sample", pa.string()),
        ("unit", pa.string()),
        ("height", pa.int32()),  # of the image as it is scored, in pixels
        ("width", pa.int32()),
        ("image", pa.binary()),  # JPEG
        ("mask", pa.binary()),  # PNG of the image's size here: class ids, 255 where a pixel counts nowhere
    ],
    metadata={"format": str(FORMAT)},
)


def thumbnails_file(seed: int) -> str:
    """Where a task's folder holds the thumbnails of a study with this seed."""
    return f"thumbnails-{seed}.parquet"


def has_thumbnails(folder: Storage, seed: int) -> bool:
    """Whether a task's folder holds them, in the format of today."""
    name = thumbnails_file(seed)
    return folder.exists(name) and folder.read_table(name, columns=["sample"]).schema.metadata == _SCHEMA.metadata


def save_thumbnails(task: Task, folder: Storage, seed: int) -> None:
    """Write the thumbnails of `shown_samples` beside the index of a segmentation task, unless they are there.

    They follow from what the folder's fingerprint covers and from the seed, which stands in their name: nothing else
    that is made from the task depends on them, so they are no part of any fingerprint, and a folder that is older than
    they are gets them when it is next used.
    Raises WorkError naming the file when a sample cannot be read.
    """
    if has_thumbnails(folder, seed):
        return
    rows = []
    for index in sorted(i for own in shown_samples(task, folds(task, seed), seed) for i in own):
        image, mask = read_sample(task, index)
        assert mask is not None
        height, width = image.shape[:2]
        scale = min(1.0, THUMBNAIL_PX / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
        sample = task.samples[index]
        rows.append({"sample": sample.id, "unit": sample.unit, "height": height, "width": width,
                     "image": _jpeg(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)),
                     "mask": encode_mask(small)})  # fmt: skip
    folder.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), thumbnails_file(seed))


def _jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()
