"""What the driver shows of a training that runs elsewhere, from the files that it writes."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from raysweep.pretrain.log import CORRUPT, LIVE, METRICS, SAID
from raysweep.pretrain.watch import Watch, corrupt_patches, history_of
from raysweep.progress import Progress
from raysweep.storage import Storage


def line(epoch: int, **figures: float) -> dict[str, float]:
    return {"epoch": epoch, "loss": 2.5, "lr": 0.001, "images": 300, "wait_seconds": 1.0, "epoch_seconds": 4.0,
            **figures}  # fmt: skip


def write(folder: Storage, *history: dict[str, float]) -> None:
    folder.write_bytes("".join(json.dumps(row) + "\n" for row in history).encode(), METRICS)


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    return Storage.open(tmp_path)


@pytest.fixture
def shown() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def progress(shown: io.StringIO) -> Progress:
    return Progress(Console(file=shown, width=300))


def test_each_epoch_is_one_line_with_its_figures_and_speed(
    folder: Storage, progress: Progress, shown: io.StringIO
) -> None:
    with progress.stage("pretrain toy", 600, "images") as stage, Watch(folder, stage):
        write(folder, line(1, knn_start=0.51239, knn=0.61, probe_seconds=3.0), line(2))
    notes = [row for row in shown.getvalue().splitlines() if "epoch" in row]
    assert notes == [
        "pretrain toy: epoch 1 · loss 2.5 · lr 0.001 · knn 0.5124 before training · knn 0.61 · 75 images/s, "
        "25% waiting for data",
        "pretrain toy: epoch 2 · loss 2.5 · lr 0.001 · 75 images/s, 25% waiting for data",
    ]


def test_a_resumed_training_shows_only_what_is_new(folder: Storage, progress: Progress, shown: io.StringIO) -> None:
    write(folder, line(1))
    with progress.stage("pretrain toy", 600, "images") as stage, Watch(folder, stage):
        write(folder, line(1), line(2))
    assert "epoch 2" in shown.getvalue()
    assert "epoch 1" not in shown.getvalue()
    assert stage.done == 600


def test_the_images_of_an_epoch_under_way_count(folder: Storage, progress: Progress) -> None:
    with progress.stage("pretrain toy", 1000, "images") as stage, Watch(folder, stage):
        write(folder, line(1))
        folder.write_json({"images": 420}, *LIVE)
    assert stage.done == 420
    with progress.stage("pretrain toy", 1000, "images") as stage, Watch(folder, stage):
        folder.write_json({"images": 100}, *LIVE)  # of workers that went back to an older state
    assert stage.done == 300


def test_features_that_collapse_are_warned_of_once(folder: Storage, progress: Progress, shown: io.StringIO) -> None:
    with progress.stage("pretrain toy", 900, "images") as stage, Watch(folder, stage):
        write(folder, line(1, spread=0.06), line(2, spread=0.049), line(3, spread=0.01))
    warnings = [row for row in shown.getvalue().splitlines() if "collapsed" in row]
    assert warnings == [
        "pretrain toy: its features are nearly the same for every patch (spread 0.049): they may have collapsed; "
        "try a lower lr, a larger batch or another method"
    ]


def test_sound_features_are_not_warned_of(folder: Storage, progress: Progress, shown: io.StringIO) -> None:
    with progress.stage("pretrain toy", 900, "images") as stage, Watch(folder, stage):
        write(folder, line(1, spread=0.05), line(2))
    assert "collapsed" not in shown.getvalue()


def test_what_training_says_is_told_once(folder: Storage, progress: Progress, shown: io.StringIO) -> None:
    with progress.stage("pretrain toy", 900, "images") as stage:
        watch = Watch(folder, stage)
        with watch:
            folder.write_json(["the probe after epoch 1 failed (no room)"], *SAID)
            watch._look()
            folder.write_json(["the probe after epoch 1 failed (no room)", "wandb takes no more"], *SAID)
    told = [row for row in shown.getvalue().splitlines() if "epoch" in row or "wandb" in row]
    assert told == ["pretrain toy: the probe after epoch 1 failed (no room)", "pretrain toy: wandb takes no more"]


def test_a_training_that_has_written_nothing_has_no_history(folder: Storage) -> None:
    assert history_of(folder) == []
    assert corrupt_patches(folder) == []
    folder.write_json(["a.jpg: no picture"], *CORRUPT)
    assert corrupt_patches(folder) == ["a.jpg: no picture"]
