"""A labelled set to a patch set, so that pretraining reads one kind of input."""

import json
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
import ray

from raysweep.errors import WorkError, reason_of
from raysweep.patches.outcomes import SLIDES, Status, read_outcomes
from raysweep.patches.shuffle.attempts import attempt
from raysweep.patches.shuffle.merge import SlideFacts, merge
from raysweep.patches.shuffle.pieces import Piece
from raysweep.patches.shuffle.spool import PIECE_SCHEMA, write_piece
from raysweep.patches.shuffle.stream import stream
from raysweep.patches.write import shard_count, write_index
from raysweep.progress import Progress
from raysweep.randomness import stable_hash
from raysweep.storage import MANIFEST, Artefact, Storage
from raysweep.tasks.reader import Reader
from raysweep.tasks.source import label_names, window_px
from raysweep.tasks.stored import Picture, stored_pictures
from raysweep.tasks.task import Task

_PIECES, _AGAIN = "pieces", "again"  # folders below the patch set, while it is written
_TASKS, _MOST_IMAGES = 64, 256  # pieces of work at least, where there are so many images; images of one at most
_PIECE_BYTES = 64 * 10**6  # of pictures in a piece, and so in a worker's memory, beside one decoded image

_WORK = pa.schema([("number", pa.int32()), ("ids", pa.list_(pa.string())), ("paths", pa.list_(pa.string()))])
_TABLE = pa.schema([
    ("slide", pa.string()), ("patient", pa.string()), ("label", pa.string()), ("split", pa.string()),
    ("status", pa.string()), ("reason", pa.string()), ("mpp", pa.float64()), ("mpp_source", pa.string()),
    ("width", pa.int64()), ("height", pa.int64()), ("n_patches", pa.int64()), ("hash", pa.string()),
])  # fmt: skip


@dataclass(frozen=True)
class _Done:
    """What became of one image; plain values, which travel as JSON. size: width and height, of one that was read."""

    status: Status
    reason: str | None = None
    size: tuple[int, int] | None = None
    edges: list[int] = field(default_factory=list)  # of its patches


def write_source(task: Task, artefact: Artefact, *, seed: int, workers: int | None, progress: Progress) -> None:
    """Write the images of a labelled set, shuffled, as a patch set.

    Upright JPEG and PNG files of 8-bit RGB or grey are stored byte for byte, whatever their size; other pictures become
    PNG. An image with an edge of more than twice `window_px` becomes PNGs of windows of that edge, side by side, of
    which the last in each direction are moved inwards. `slide` is the sample's id, `patient` its unit, `x` and `y` the
    window's corner in pixels of the file, `mpp` that of the card (NaN: unknown), `label` the class of a classification
    set; `split` and `mask` are null: which images a pretraining may see depends on its fold, see `train_rows`.

    Args:
        task: what to write.
        artefact: where to; its inputs are `source_inputs(task, seed)`.
        seed: of the shuffle.
        workers: at most so many CPUs at once; None: all that Ray has. The result does not depend on it.
        progress: where to show.

    Ray must be running. The slide table has a row for each image: done, failed with its reason, or skipped where the
    task's index leaves it out; its column `hash` names the bytes of the file. In a set that is complete the images that
    failed are read again, and it stays as it is until one of them can be. Raises WorkError when no image can be
    written, or something else cannot.
    """
    _Writing(task, artefact, seed, workers, progress).write()


class _Writing:
    """The steps of writing a source; the arguments are those of `write_source`."""

    def __init__(self, task: Task, artefact: Artefact, seed: int, workers: int | None, progress: Progress) -> None:
        self.task, self.artefact, self.seed, self.workers, self.progress = task, artefact, seed, workers, progress
        self.folder, self.name = artefact.folder, task.card.name
        self.classes = label_names(task.card)

    def write(self) -> None:
        started = time.monotonic()
        if self.artefact.done() and not self._any_comes_back():
            return
        self.folder.remove(MANIFEST)  # before anything of it changes
        done, pieces = self._read([sample.id for sample in self.task.samples], _PIECES)
        self._table(done)
        if not pieces:
            first = next((f" ({i}: {d.reason})" for i, d in done.items()), "")
            raise WorkError(f"no image of task {self.name} could be written as a patch{first}")
        edges = Counter(edge for outcome in done.values() for edge in outcome.edges)
        px = min(edges, key=lambda edge: (-edges[edge], edge))
        self._shuffle(done, pieces, px, started)

    def _any_comes_back(self) -> bool:
        """Whether one of the images that failed can be read by now."""
        failed = [slide.slide for slide in read_outcomes(self.folder) if slide.status == "failed"]
        if not failed:
            return False
        self.folder.remove(_AGAIN)
        again, _ = self._read(failed, _AGAIN)
        self.folder.remove(_AGAIN)
        return any(outcome.status == "done" for outcome in again.values())

    def _read(self, ids: Sequence[str], where: str) -> tuple[dict[str, _Done], list[Piece]]:
        """Read images into pieces in a folder below the patch set; what of it is there from a killed run is kept."""
        wanted = set(ids)
        samples = [sample for sample in self.task.samples if sample.id in wanted]
        size = min(_MOST_IMAGES, -(-len(samples) // _TASKS))
        works = [
            {"number": n, "ids": [s.id for s in some], "paths": [s.image for s in some]}
            for n, some in enumerate(samples[i : i + size] for i in range(0, len(samples), size))
        ]
        look = partial(
            _read_images, pieces=self.folder.at(where), reader=self.task.reader, edge=window_px(self.task.card),
            seed=self.seed, run=uuid.uuid4().hex,
        )  # fmt: skip

        def pipeline() -> ray.data.Dataset:
            tables = [pa.Table.from_pylist([work], schema=_WORK) for work in works]
            return ray.data.from_arrow(tables).map_batches(look, batch_size=None, batch_format="pyarrow")

        done: dict[str, _Done] = {}
        pieces: list[Piece] = []
        with self.progress.stage(f"write {self.name}", len(samples), "images") as stage:
            for row in stream(pipeline, workers=self.workers, doing=f"writing {self.name}", tell=stage.note):
                result = json.loads(row["result"])
                found = {name: _Done(**outcome) for name, outcome in result["done"].items()}
                failed = sum(outcome.status == "failed" for outcome in found.values())
                stage.advance(len(found), failed=failed, bytes=sum(piece["bytes"] for piece in result["pieces"]))
                done |= found
                pieces += [Piece(**piece) for piece in result["pieces"]]
        return done, sorted(pieces, key=lambda piece: piece.path)

    def _table(self, done: Mapping[str, _Done]) -> None:
        card = self.task.card
        rows: list[dict[str, Any]] = []
        for sample, identity in self.task.image_identities():
            outcome = done[sample.id]
            width, height = outcome.size or (None, None)
            rows.append({
                "slide": sample.id,
                "patient": sample.unit,
                "label": None if sample.label is None else card.classes[sample.label],
                "status": outcome.status,
                "reason": outcome.reason,
                "mpp": card.mpp,
                "mpp_source": card.mpp and "card",
                "width": width,
                "height": height,
                "n_patches": len(outcome.edges),
                "hash": identity or None,
            })  # fmt: skip
        rows += [
            {"slide": name, "status": "skipped", "reason": f"not in the task's index: {reason}", "n_patches": 0}
            for name, reason in self.task.excluded
        ]
        self.folder.write_table(pa.Table.from_pylist(sorted(rows, key=lambda r: r["slide"]), schema=_TABLE), SLIDES)

    def _shuffle(self, done: Mapping[str, _Done], pieces: list[Piece], px: int, started: float) -> None:
        """Pieces into shards, and the set is complete."""
        read_seconds = time.monotonic() - started
        mpp = self.task.card.mpp
        facts = {s.id: SlideFacts(s.unit, s.label, None, mpp, mpp) for s in self.task.samples if done[s.id].edges}
        n_shards = shard_count(sum(piece.rows for piece in pieces), sum(piece.bytes for piece in pieces))
        with self.progress.stage(f"shuffle {self.name}", n_shards, "shards") as stage:
            shards = merge(
                self.folder,
                self.folder.at(_PIECES),
                pieces,
                facts,
                classes=self.classes,
                workers=self.workers,
                report=lambda shard: stage.advance(patches=shard.rows, bytes=shard.bytes),
            )
        write_index(self.folder, shards, self.classes)
        self.folder.remove(_PIECES)
        ends = Counter(outcome.status for outcome in done.values())
        self.artefact.commit(
            config={"task": self.name, "px": px, "mpp": mpp, "um": mpp and mpp * px, "classes": self.classes,
                    "window_px": window_px(self.task.card)},
            counts={
                "slides": len(done) + len(self.task.excluded),
                "done": ends["done"],
                "failed": ends["failed"],
                "skipped": len(self.task.excluded),
                "patches": sum(shard.rows for shard in shards),
                "shards": len(shards),
                "bytes": sum(shard.bytes for shard in shards),
            },
            timings={
                "write_seconds": read_seconds,
                "merge_seconds": time.monotonic() - started - read_seconds,
            },
        )  # fmt: skip


def _read_images(
    batch: pa.Table, pieces: Storage, reader: Reader, edge: int, seed: int, run: str
) -> Iterator[pa.Table]:
    """For each row of `_WORK` a column `result`: JSON of `done`, a `_Done` for each image, and `pieces`."""
    for work in batch.to_pylist():
        finished = f"{work['number']:06d}.json"
        if not pieces.exists(finished):
            writer = _Pieces(pieces, f"{work['number']:06d}")
            begun = f"begun-{run}-{work['number']}"
            again = pieces.exists(begun)  # one of these images may have ended the process: each is counted now
            pieces.write_bytes(b"", begun, durable=False)
            done = {}
            for index, (name, path) in enumerate(zip(work["ids"], work["paths"], strict=True)):
                with attempt(pieces, run, f"{work['number']}-{index}", "image") if again else nullcontext() as reason:
                    done[name] = (
                        _Done("failed", reason) if reason else _read_image(writer, name, reader, path, edge, seed)
                    )
            result = {"done": {name: asdict(d) for name, d in done.items()}, "pieces": writer.finish()}
            pieces.write_json(result, finished)
        yield pa.table({"result": [pieces.read_bytes(finished).decode()]})


def _read_image(writer: "_Pieces", name: str, reader: Reader, path: str, edge: int, seed: int) -> _Done:
    try:
        size, pictures = stored_pictures(reader, path, edge)
    except Exception as error:  # decoders raise whatever a broken file leads them to
        return _Done("failed", reason_of(error).replace(f"{(reader.root / path).parent}/", ""))
    edges = []
    for picture in pictures:
        writer.add(name, picture, seed)
        edges.append(round((picture.width * picture.height) ** 0.5))
    return _Done("done", None, size, edges)


class _Pieces:
    """Writes patches into pieces of about `_PIECE_BYTES`."""

    def __init__(self, folder: Storage, prefix: str) -> None:
        self._folder, self._prefix = folder, prefix
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0
        self._written: list[dict[str, Any]] = []

    def add(self, name: str, picture: Picture, seed: int) -> None:
        x, y = picture.x, picture.y
        self._rows.append({
            "slide": name,
            "x": x,
            "y": y,
            "left": x,
            "top": y,
            "right": x + picture.width,
            "bottom": y + picture.height,
            "tissue": 1.0,
            "key": stable_hash(name, x, y, seed),
            "image": picture.data,
        })  # fmt: skip
        self._bytes += len(picture.data)
        if self._bytes >= _PIECE_BYTES:
            self._flush()

    def finish(self) -> list[dict[str, Any]]:
        """All pieces, safe from a power cut: `path`, `rows` and `bytes` of each."""
        if self._rows:
            self._flush()
        for piece in self._written:
            self._folder.make_durable(piece["path"])
        return self._written

    def _flush(self) -> None:
        rows = pa.Table.from_pylist(self._rows, schema=PIECE_SCHEMA)
        rows = rows.sort_by([(key, "ascending") for key in ("key", "slide", "x", "y")])
        path = f"{self._prefix}-{len(self._written):03d}.arrow"
        facts = write_piece(self._folder, rows, path)
        self._written.append({"path": path, "rows": facts.rows, "bytes": facts.bytes})
        self._rows, self._bytes = [], 0
