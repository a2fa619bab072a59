"""Small tables of patch rows."""

import numpy as np
import pyarrow as pa

from raysweep.patches.codec import encode_jpeg
from raysweep.patches.schema import patch_schema
from raysweep.randomness import stable_hash


def patch_rows(n: int, *, slides: int = 3, px: int = 8, classes: tuple[str, ...] = ("normal", "tumour")) -> pa.Table:
    """Rows in order of slide and place; slides are s0, s1, ..., labels alternate."""
    rows = []
    for i in range(n):
        slide, x = f"s{i % slides}", i // slides * px
        grey = np.full((px, px, 3), i % 256, np.uint8)
        rows.append({
            "image": {"bytes": encode_jpeg(grey, 90), "path": f"{slide}_{x}_0.jpg"},
            "slide": slide,
            "patient": None if slide == "s2" else f"p-{slide}",
            "x": x,
            "y": 0,
            "mpp": 0.5,
            "source_mpp": 0.25,
            "tissue": 0.75,
            "label": i % len(classes) if classes else None,
            "mask": None,
            "split": "train",
            "key": stable_hash(slide, x, 0, 0),
        })  # fmt: skip
    return pa.Table.from_pylist(rows, schema=patch_schema(classes))
