"""What a training shows while it runs: `metrics.jsonl`, TensorBoard events, and how far it has come."""

import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from raysweep.storage import Storage

METRICS = "metrics.jsonl"
LIVE = ("resume", "live.json")
CORRUPT = ("resume", "corrupt.json")
_LIVE_SECONDS = 2.0  # between notes of how far it is


class Log:
    """Written by rank 0."""

    def __init__(self, folder: Storage, *, epochs_done: int) -> None:
        self._folder = folder
        self._last = time.monotonic()
        self._local = None if folder.is_local else Path(tempfile.mkdtemp(prefix="raysweep-events-"))
        events = folder.path("tensorboard") if self._local is None else str(self._local)
        self._writer = SummaryWriter(events, purge_step=epochs_done + 1)  # hides what a killed run wrote beyond that

    def step(self, images: int) -> None:
        """So many images of the whole training have been worked on."""
        if time.monotonic() - self._last >= _LIVE_SECONDS:
            self._last = time.monotonic()
            self._folder.write_json({"images": images}, *LIVE)

    def epoch(self, history: list[dict[str, Any]]) -> None:
        """An epoch is complete; `history` holds the figures of every epoch so far."""
        lines = "".join(json.dumps(line) + "\n" for line in history)
        self._folder.write_bytes(lines.encode(), METRICS)  # whole, so that a repeated epoch is there once
        for name, value in history[-1].items():
            if name != "epoch":
                self._writer.add_scalar(f"pretrain/{name}", value, history[-1]["epoch"])
        self._writer.flush()
        self._upload()

    def corrupt(self, names: list[str]) -> None:
        """Patches that could not be decoded."""
        if names:
            self._folder.write_json(names, *CORRUPT)

    def close(self) -> None:
        self._writer.close()
        self._upload()
        if self._local is not None:
            shutil.rmtree(self._local)

    def _upload(self) -> None:
        if self._local is not None:
            for file in self._local.iterdir():
                self._folder.write_bytes(file.read_bytes(), "tensorboard", file.name)
