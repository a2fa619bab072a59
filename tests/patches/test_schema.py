"""What a patch row looks like to others."""

import json

import pyarrow as pa
import pytest

from raysweep.patches.schema import classes_of, patch_schema
from raysweep.patches.write import write_patch_set
from raysweep.storage import Artefact, Storage

from .rows import patch_rows


def test_the_picture_is_a_hugging_face_image():
    """`datasets` stores Image features as struct<bytes, path> and finds them through this metadata."""
    schema = patch_schema(["a"])
    assert schema.field("image").type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features == {"image": {"_type": "Image"}}


def test_types():
    schema = patch_schema()
    types = {name: str(schema.field(name).type) for name in ("x", "y", "mpp", "tissue", "label", "mask", "key")}
    assert types == {"x": "int32", "y": "int32", "mpp": "double", "tissue": "float", "label": "int32",
                     "mask": "binary", "key": "uint64"}  # fmt: skip
    assert [field.name for field in schema if field.nullable] == ["image", "patient", "label", "mask", "split"]
    for name in ("slide", "patient", "split"):
        assert pa.types.is_dictionary(schema.field(name).type)


def test_class_names_travel_in_the_metadata():
    assert classes_of(patch_schema(["benign", "maligné"])) == ["benign", "maligné"]
    assert classes_of(patch_schema()) == []


def test_shards_open_as_pictures_in_hugging_face_datasets(tmp_path):
    datasets = pytest.importorskip("datasets")
    artefact = Artefact(Storage.open(tmp_path / "set"), {"x": 1})
    write_patch_set(artefact, patch_rows(3, px=32), config={"um": 32, "px": 32})
    file = artefact.folder.path("shards", artefact.folder.names("shards")[0])
    found = datasets.Dataset.from_parquet(file, cache_dir=str(tmp_path / "cache"))
    assert isinstance(found.features["image"], datasets.Image)
    assert found[0]["image"].size == (32, 32)
