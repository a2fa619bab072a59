"""Shows, on the driver, what rank 0 writes while it trains."""

import json
import threading
from typing import Any

from raysweep.pretrain.log import CORRUPT, LIVE, METRICS, SAID, speed_of
from raysweep.progress import Stage
from raysweep.storage import Storage

_POLL_SECONDS = 1.0
_COLLAPSED = 0.05  # of the spread of features, which is 0 when all are the same
_HIDDEN = ("epoch", "images", "wait_seconds", "epoch_seconds", "probe_seconds")
_BEFORE = "_start"  # ends the names of figures of the weights before training


def history_of(folder: Storage) -> list[dict[str, Any]]:
    """The figures of each epoch so far."""
    if not folder.exists(METRICS):
        return []
    return [json.loads(line) for line in folder.read_bytes(METRICS).splitlines()]


def corrupt_patches(folder: Storage) -> list[str]:
    """Patches that could not be decoded, each with its reason."""
    return folder.read_json(*CORRUPT) if folder.exists(*CORRUPT) else []


class Watch:
    """Moves a stage forward while its block runs, and notes the figures of every epoch and what training says."""

    def __init__(self, folder: Storage, stage: Stage) -> None:
        self._folder, self._stage = folder, stage
        self._shown = len(history_of(folder))
        self._told: set[str] = set()
        self._warned = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._ended.wait(_POLL_SECONDS):
            self._look()

    def _look(self) -> None:
        try:
            history = history_of(self._folder)
            said = self._folder.read_json(*SAID) if self._folder.exists(*SAID) else []
            live = self._folder.read_json(*LIVE) if self._folder.exists(*LIVE) else {}
        except OSError:  # a look that comes to nothing; the next one will do
            return
        images = max(live.get("images", 0), sum(line["images"] for line in history))
        if images > self._stage.done:
            self._stage.advance(images - self._stage.done)
        for line in history[self._shown :]:
            self._note(line)
        self._shown = len(history)
        for sentence in said:
            if sentence not in self._told:
                self._told.add(sentence)
                self._stage.note(f"{self._stage.name}: {sentence}")

    def _note(self, line: dict[str, Any]) -> None:
        figures = [_shown(name, value) for name, value in line.items() if name not in _HIDDEN]
        fast = speed_of(line)
        speed = f"{fast['images_per_second']:.0f} images/s, {fast['wait_share']:.0%} waiting for data"
        self._stage.note(f"{self._stage.name}: epoch {line['epoch']} · {' · '.join(figures)} · {speed}")
        if line.get("spread", 1.0) < _COLLAPSED and not self._warned:
            self._warned = True
            self._stage.note(
                f"{self._stage.name}: its features are nearly the same for every patch (spread {line['spread']:.3f}): "
                "they may have collapsed; try a lower lr, a larger batch or another method"
            )


def _shown(name: str, value: float) -> str:
    if name.endswith(_BEFORE):
        return f"{name.removesuffix(_BEFORE)} {value:.4g} before training"
    return f"{name} {value:.4g}"
