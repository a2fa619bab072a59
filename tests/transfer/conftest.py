"""Tiny checkpoints and tasks: made once, a few hundred kilobytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raysweep.backbones.checkpoint import CheckpointInfo, save_checkpoint
from raysweep.backbones.create import create_backbone
from raysweep.storage import Storage
from tests.transfer.tiny import make_task


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Storage]:
    """checkpoint(name, seed=0, arguments=None): the folder of a randomly initialised one."""
    made: dict[tuple[str, int], Storage] = {}

    def make(name: str, seed: int = 0, arguments: dict[str, Any] | None = None) -> Storage:
        if (name, seed) not in made:
            folder = Storage.open(tmp_path_factory.mktemp("checkpoint"))
            info = CheckpointInfo(
                backbone=name, arguments=arguments or {}, mean=(0.5, 0.4, 0.5), std=(0.2, 0.25, 0.2), init="random"
            )
            save_checkpoint(folder, create_backbone(name, seed=seed, arguments=arguments).state_dict(), info)
            made[name, seed] = folder
        return made[name, seed]

    return make


@pytest.fixture
def saved_task(tmp_path: Path) -> Callable[..., Storage]:
    """saved_task(kind, sizes): the folder of a saved task; its images are below `tmp_path/data`."""

    def save(kind: str, sizes: list[tuple[int, int]], **options: Any) -> Storage:
        folder = Storage.open(tmp_path / "task")
        make_task(tmp_path / "data", kind, sizes, **options).save(folder)
        return folder

    return save
