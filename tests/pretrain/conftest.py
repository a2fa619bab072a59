"""A tiny labelled patch set, the in-process loop, and one pair of gloo processes for every equality test."""

import multiprocessing as mp
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raysweep.patches.codec import encode_jpeg
from raysweep.patches.schema import patch_schema
from raysweep.patches.write import write_patch_set
from raysweep.randomness import stable_hash
from raysweep.storage import Artefact, Storage
from tests.pretrain import ranks

PX = 32


def patch_rows(n: int, classes: tuple[str, ...], *, slides: int = 4, **columns: Callable[[int], Any]) -> pa.Table:
    """Patches whose class shows in their stripes; `columns` replaces values by patch number."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(n):
        label = i % max(1, len(classes))
        picture = rng.normal(150, 30, (PX, PX, 3))
        picture[:: label + 2] *= 0.3
        rows.append(
            {
                "image": {"bytes": encode_jpeg(np.clip(picture, 0, 255).astype(np.uint8), 90), "path": f"{i}.jpg"},
                "slide": f"s{i % slides}",
                "patient": f"p{i % slides}",
                "x": i,
                "y": 0,
                "mpp": 0.5,
                "source_mpp": 0.25,
                "tissue": 1.0,
                "label": label if classes else None,
                "mask": None,
                "split": "train",
                "key": stable_hash("patch", i),
                **{name: make(i) for name, make in columns.items()},
            }
        )
    return pa.Table.from_pylist(rows, schema=patch_schema(classes))


@pytest.fixture(scope="session")
def make_set(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Storage]:
    """make_set(n, classes, **columns): the folder of a complete patch set of 32 px patches."""

    def make(n: int, classes: tuple[str, ...] = ("a", "b", "c"), **columns: Callable[[int], Any]) -> Storage:
        home = Storage.open(tmp_path_factory.mktemp("patches"))
        artefact = Artefact(home, {"stage": "patches", "n": n, "classes": list(classes)})
        rows = patch_rows(n, classes, **columns)
        write_patch_set(artefact, rows, config={"um": PX * 0.5, "px": PX}, shards=2)
        return artefact.folder

    return make


@pytest.fixture(scope="session")
def patch_set(make_set: Callable[..., Storage]) -> Storage:
    """300 patches of three classes: row groups of 128 and of fewer rows, in two shards."""
    return make_set(300)


class Group:
    """Processes that form a gloo group and run functions of `ranks` together."""

    def __init__(self, folder: Path, world: int) -> None:
        context = mp.get_context("spawn")
        self.ends, self.processes = [], []
        for rank in range(world):
            ours, theirs = context.Pipe()
            arguments = (theirs, rank, world, (folder / "store").as_uri())
            process = context.Process(target=ranks.serve, args=arguments, daemon=True)
            process.start()
            self.ends.append(ours)
            self.processes.append(process)

    def run(self, function: str, *arguments: Any, **keys: Any) -> list[Any]:
        """What `ranks.<function>(*arguments)` returns on every rank."""
        for end in self.ends:
            end.send((function, arguments, keys))
        answers = [end.recv() for end in self.ends]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def close(self) -> None:
        for end in self.ends:
            end.send(None)
        for process in self.processes:
            process.join(10)


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    made = Group(tmp_path_factory.mktemp("gloo"), 2)
    yield made
    made.close()


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Group]:
    made = Group(tmp_path, 3)
    yield made
    made.close()
