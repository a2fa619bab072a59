"""The columns of a patch row, and what a patch set says of itself in its schema metadata."""

import json
from collections.abc import Sequence

import pyarrow as pa

FORMAT = 4  # part of every fingerprint: raise it when stored bytes change their meaning
NO_CLASS = 255  # in a mask of class ids: a pixel of no class

_HF_FEATURES = {"info": {"features": {"image": {"_type": "Image"}}}}


def patch_schema(classes: Sequence[str] = ()) -> pa.Schema:
    """The Arrow schema of patch rows.

    `image` holds the encoded picture; `x`, `y` are level-0 pixels of the top-left corner; `mpp` is that of the
    stored pixels, in um per pixel (NaN: unknown); `tissue` is a fraction in [0, 1]; `label` indexes `classes`
    (null: none); `mask` is a PNG of class ids (null: none); `key` is the shuffle key. The metadata lets Hugging Face
    `datasets` show `image` as a picture and holds the class names under `raysweep`.
    """
    words = pa.dictionary(pa.int32(), pa.string())
    fields = [
        pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),  # as `datasets` wants it
        pa.field("slide", words, nullable=False),
        pa.field("patient", words),
        pa.field("x", pa.int32(), nullable=False),
        pa.field("y", pa.int32(), nullable=False),
        pa.field("mpp", pa.float64(), nullable=False),
        pa.field("source_mpp", pa.float64(), nullable=False),
        pa.field("tissue", pa.float32(), nullable=False),
        pa.field("label", pa.int32()),
        pa.field("mask", pa.binary()),
        pa.field("split", words),
        pa.field("key", pa.uint64(), nullable=False),
    ]
    metadata = {
        "huggingface": json.dumps(_HF_FEATURES),
        "raysweep": json.dumps({"format": FORMAT, "classes": list(classes)}),
    }
    return pa.schema(fields, metadata=metadata)


def classes_of(schema: pa.Schema) -> list[str]:
    """The class names that `label` indexes."""
    return list(json.loads((schema.metadata or {})[b"raysweep"])["classes"])
