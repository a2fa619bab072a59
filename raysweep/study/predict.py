"""Score a patch set by a trained model: Parquet, and GeoJSON for QuPath. Without Ray."""

import math
import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from raysweep.errors import RequestError, WorkError, reason_of
from raysweep.local_path import local_path
from raysweep.patches.codec import decode
from raysweep.patches.outcomes import read_outcomes
from raysweep.patches.read import PatchSet
from raysweep.patches.write import INDEX
from raysweep.progress import Progress
from raysweep.slides.exports.scored import ScoredTiles
from raysweep.storage import Storage
from raysweep.study.kept_models import find_model
from raysweep.transfer.ahead import ahead
from raysweep.transfer.model_info import ModelInfo, read_model_info

if TYPE_CHECKING:
    from raysweep.transfer.model_file import TrainedModel

_NEAR = 0.1  # part by which scales and sizes may differ and still be called the same
_BATCH = 64  # patches that are decoded together and scored together
_DECODERS = 16  # threads at most: each holds a batch
_VALUES = 2**26  # of masks' probabilities at once
_ROWS = 2**14  # of a row group of the predictions
_COLUMNS = ["image.bytes", "slide", "x", "y", "mpp", "source_mpp", "key"]


@dataclass(frozen=True)
class Predicted:
    """What came of it. `failed`: patches that could not be decoded, which have no scores; `reason`: the first one's."""

    patches: int
    failed: int
    reason: str
    geojson: list[Path]


def predict(
    model: str,
    patches: str,
    out: Path,
    *,
    geojson: Path | None = None,
    any_scale: bool = False,
    fold: int | None = None,
    threads: int | None = None,
    progress: Progress,
) -> Predicted:
    """Score every patch of a set, in the order of its shards, one row each (see `_schema`).

    Patches are brought to the model's um per pixel; one that then has the model's edge to 10 % is brought to that edge,
    any other is seen in windows (see `TrainedModel.predict`). A patch that cannot be decoded has a row without scores
    and the reason. On a GPU where there is one.

    Args:
        model: an exported model's folder, or that of a repeat or cell.
        patches: a complete patch set's folder, or the one above it.
        out: the Parquet file. It appears when it is whole.
        geojson: the QuPath file, or of several slides the name that those of the slides begin with.
        any_scale: score patches whose scale differs from the model's by more than 10 %, or is not known, too.
        fold: which of a repeat's models; default: the first.
        threads: CPU threads; default: as many as there are CPUs.

    Raises RequestError for a folder that holds no model or patch set, or patches of another scale; WorkError when files
    cannot be written, or no patch could be decoded.
    """
    out = local_path(out, "--out")
    geojson = None if geojson is None else local_path(geojson, "--geojson")
    kept = find_model(model, fold)
    info = read_model_info(kept.folder, *kept.parts)
    patch_set = _open(patches)
    _check_scale(patch_set.mpp, info, patches, any_scale, checked=patch_set.mpp is None)
    import torch

    from raysweep.transfer.model_file import load_model

    threads = threads or os.cpu_count() or 1
    torch.set_num_threads(threads)
    scorer = load_model(kept.folder, *kept.parts, gpu=torch.cuda.is_available(), batch=_BATCH)
    reader = _Reader(patch_set, info, patches, any_scale)
    failed, reason = 0, ""
    with ExitStack() as stack:
        table = stack.enter_context(_Rows(out, _schema(info)))
        tiles = None
        if geojson is not None:
            geojson.parent.mkdir(parents=True, exist_ok=True)
            tiles = stack.enter_context(ScoredTiles(geojson, info.classes))
        stage = stack.enter_context(progress.stage("predict", patch_set.n_patches, "patches"))
        origins = {s.slide: (s.origin_x or 0, s.origin_y or 0) for s in read_outcomes(patch_set.folder)}
        for batch in ahead(reader.prepare, reader.batches(), threads=min(threads, _DECODERS)):
            scores = _scores(scorer, batch)
            for row, given in zip(batch, scores, strict=True):
                table.add(row, given)
                if tiles is not None and given is not None:
                    named = dict(zip(_named(info), given.tolist(), strict=True))
                    left, top = origins.get(row.slide, (0, 0))
                    tiles.add(row.slide, (row.x - left, row.y - top), row.edges, int(given.argmax()), named)
                failed, reason = failed + (given is None), reason or row.reason
            stage.advance(len(batch), failed=sum(given is None for given in scores))
        if patch_set.n_patches and failed == patch_set.n_patches:
            raise WorkError(f"{patches}: no patch could be decoded (the first: {reason})")
    return Predicted(patch_set.n_patches, failed, reason, tiles.files if tiles else [])


@dataclass(frozen=True)
class _Row:
    slide: str
    x: int
    y: int
    key: int
    edges: tuple[float, float]  # width and height in level-0 pixels
    pixels: np.ndarray | None  # as the model takes them
    reason: str


class _Reader:
    def __init__(self, patch_set: PatchSet, info: ModelInfo, name: str, any_scale: bool) -> None:
        self._set, self._info, self._name, self._any_scale = patch_set, info, name, any_scale

    def batches(self) -> Iterator[pa.Table]:
        """Row groups in parts: a group at a time is read, as patches are wanted."""
        for group in self._set.row_groups:
            table = self._set.read(group, _COLUMNS)
            yield from (table.slice(start, _BATCH) for start in range(0, table.num_rows, _BATCH))

    def prepare(self, table: pa.Table) -> list[_Row]:
        return [self._row(row) for row in table.to_pylist()]

    def _row(self, row: dict[str, Any]) -> _Row:
        mpp = None if math.isnan(row["mpp"]) else row["mpp"]
        _check_scale(mpp, self._info, self._name, self._any_scale, checked=False)
        try:
            picture = decode((row["image"] or {}).get("bytes") or b"")
        except WorkError as error:
            return _Row(row["slide"], row["x"], row["y"], row["key"], (0, 0), None, reason_of(error))
        level0 = row["mpp"] / row["source_mpp"]
        level0 = level0 if math.isfinite(level0) else 1.0  # of no known scale are cut as they stand
        edges = picture.shape[1] * level0, picture.shape[0] * level0
        scale = mpp / self._info.mpp if mpp and self._info.mpp else 1.0
        return _Row(row["slide"], row["x"], row["y"], row["key"], edges, _scaled(picture, scale, self._info.px), "")


def _scaled(picture: np.ndarray, scale: float, px: int) -> np.ndarray:
    """At another scale, by the kernel of tasks and tiling; at px edge where it then nearly has that."""
    size = [max(1, round(edge * scale)) for edge in (picture.shape[1], picture.shape[0])]
    if all(abs(edge - px) <= _NEAR * px for edge in size):
        size = [px, px]
    if size == [picture.shape[1], picture.shape[0]]:
        return picture
    return np.asarray(Image.fromarray(picture).resize((size[0], size[1]), Image.Resampling.BICUBIC))


def _scores(model: "TrainedModel", batch: list[_Row]) -> list[np.ndarray | None]:
    """Of each row float32 (classes,): probabilities, or for masks the part of the area; None where it has no pixels."""
    found: list[np.ndarray | None] = []
    for shape, group in groupby(batch, lambda row: row.pixels.shape if row.pixels is not None else None):
        rows = list(group)
        if shape is None:
            found += [None] * len(rows)
            continue
        pixels = np.stack([row.pixels for row in rows if row.pixels is not None])
        found += list(model.predict(pixels) if model.info.kind == "classification" else _areas(model, pixels))
    return found


def _areas(model: "TrainedModel", pixels: np.ndarray) -> Iterator[np.ndarray]:
    """The part of each picture's area that each class has, by the most probable class of each pixel."""
    classes = len(model.info.classes)
    at_once = max(1, _VALUES // (pixels.shape[1] * pixels.shape[2] * classes))
    for start in range(0, len(pixels), at_once):
        for ids in model.predict(pixels[start : start + at_once]).argmax(-1):
            yield (np.bincount(ids.ravel(), minlength=classes) / ids.size).astype(np.float32)


def _named(info: ModelInfo) -> list[str]:
    """What a patch's numbers are called, one for each class."""
    word = "probability" if info.kind == "classification" else "fraction"
    return [f"{word}_{name}" for name in info.classes]


def _schema(info: ModelInfo) -> pa.Schema:
    """`slide`, `x`, `y` (level-0 pixels) and `key` as the patch set has them; `predicted`, the class of the highest
    number; for each class `probability_NAME`, or for masks `fraction_NAME` of the area; `reason` where there is none of
    these. The metadata says what the model is.
    """
    words = pa.dictionary(pa.int32(), pa.string())
    fields = [
        ("slide", words), ("x", pa.int32()), ("y", pa.int32()), ("key", pa.uint64()), ("predicted", words),
        *((name, pa.float32()) for name in _named(info)), ("reason", pa.string()),
    ]  # fmt: skip
    return pa.schema(fields, metadata={"raysweep-model": info.model_dump_json(exclude_none=True)})


class _Rows:
    """A Parquet file written row group by row group; a context that leaves the whole file, or none."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, self._schema = path, schema
        self._classes = len(schema) - 6
        self._held: list[dict[str, Any]] = []

    def __enter__(self) -> "_Rows":
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._temporary = self._path.parent / f".tmp-{uuid.uuid4().hex}"
            self._writer = pq.ParquetWriter(self._temporary, self._schema)
        except OSError as error:
            raise WorkError(f"{self._path}: cannot be written ({error.strerror or error})") from error
        return self

    def add(self, row: _Row, scores: np.ndarray | None) -> None:
        values = [None] * self._classes if scores is None else scores.tolist()
        names = self._schema.names[5:-1]
        predicted = None if scores is None else names[int(scores.argmax())].partition("_")[2]
        self._held.append(
            {"slide": row.slide, "x": row.x, "y": row.y, "key": row.key, "predicted": predicted,
             **dict(zip(names, values, strict=True)), "reason": row.reason or None}
        )  # fmt: skip
        if len(self._held) == _ROWS:
            self._write()

    def _write(self) -> None:
        if self._held:
            self._writer.write_table(pa.Table.from_pylist(self._held, self._schema))
            self._held.clear()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            if error is None:
                self._write()
            self._writer.close()
            if error is None:
                os.replace(self._temporary, self._path)
        except OSError as failure:
            raise WorkError(f"{self._path}: cannot be written ({failure.strerror or failure})") from failure
        finally:
            self._temporary.unlink(missing_ok=True)


def _open(patches: str) -> PatchSet:
    """The patch set in a folder, or in the one that its `current` names."""
    folder = Storage.open(patches)
    if not folder.exists(INDEX) and folder.exists("current"):
        folder = folder.at(folder.read_bytes("current").decode().split()[0])
    if not folder.exists(INDEX):
        raise RequestError(f"{patches}: no complete patch set here; give a folder below patches/ of a study's storage")
    return PatchSet(folder)


def _check_scale(mpp: float | None, info: ModelInfo, name: str, any_scale: bool, *, checked: bool) -> None:
    """`checked`: whether the patches say it one by one, which is looked at later."""
    if any_scale or checked:
        return
    if mpp is None:
        raise RequestError(
            f"{name}: the um per pixel of its patches are not known, so they may be of another scale than the model's; "
            "tile with um, or add --any-scale to take them as they are"
        )
    if info.mpp is None:
        raise RequestError(
            f"{name}: the model knows no um per pixel, because the card of {info.task} has no mpp; set it there, or "
            "add --any-scale to take patches as they are"
        )
    if abs(mpp / info.mpp - 1) > _NEAR:
        raise RequestError(
            f"{name}: its patches have {mpp:g} um per pixel and the model was trained at {info.mpp:g}; tile at "
            f"um={info.px * info.mpp:g} px={info.px}, or add --any-scale to have them resampled"
        )
