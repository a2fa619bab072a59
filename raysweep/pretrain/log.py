"""What a training shows while it runs: `metrics.jsonl`, TensorBoard events, and how far it has come."""

import json
import logging
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from raysweep.errors import WorkError
from raysweep.storage import Storage

METRICS = "metrics.jsonl"
LIVE = ("resume", "live.json")
CORRUPT = ("resume", "corrupt.json")
_LOG = logging.getLogger(__name__)
_LIVE_SECONDS = 2.0  # between notes of how far it is


class Log:
    """Written by rank 0. A disk without room stops no training: what could not be written is written later."""

    def __init__(self, folder: Storage, *, epochs_done: int) -> None:
        self._folder = folder
        self._last = time.monotonic()
        self._local = None if folder.is_local else Path(tempfile.mkdtemp(prefix="raysweep-events-"))
        self._events_at = folder.path("tensorboard") if self._local is None else str(self._local)
        self._writer: SummaryWriter | None = None
        self._drawn = epochs_done  # epochs that TensorBoard has
        self._unwritten = b""  # metrics of every epoch, while they could not be written

    def step(self, images: int) -> None:
        """So many images of the whole training have been worked on."""
        if time.monotonic() - self._last >= _LIVE_SECONDS:
            self._last = time.monotonic()
            with suppress(WorkError):  # the next note will do
                self._folder.write_json({"images": images}, *LIVE)

    def epoch(self, history: list[dict[str, Any]]) -> None:
        """An epoch is complete; `history` holds the figures of every epoch so far."""
        # whole, so that a repeated epoch is there once
        self._unwritten = "".join(json.dumps(line) + "\n" for line in history).encode()
        try:
            self._write()
            self._draw(history)
        except (OSError, WorkError) as error:
            _LOG.warning("figures of epoch %d could not be written yet (%s)", len(history), error)

    def corrupt(self, names: list[str]) -> None:
        """Patches that could not be decoded."""
        if names:
            self._folder.write_json(names, *CORRUPT)

    def close(self) -> None:
        """Raises WorkError when the figures cannot be written: they are part of the result. Events are not."""
        if self._unwritten:
            self._write()
        try:
            if self._writer is not None:
                self._writer.close()
            self._upload()
        except (OSError, WorkError) as error:
            _LOG.warning("TensorBoard's events could not be written (%s)", error)
        if self._local is not None:
            shutil.rmtree(self._local)

    def _write(self) -> None:
        self._folder.write_bytes(self._unwritten, METRICS)
        self._unwritten = b""

    def _draw(self, history: list[dict[str, Any]]) -> None:
        """Give TensorBoard what it does not have yet; a writer that has failed once is of no use any more."""
        writer, self._writer = self._writer, None
        if writer is None:  # purging hides what a killed run wrote beyond that
            writer = SummaryWriter(self._events_at, purge_step=self._drawn + 1)
        for line in history[self._drawn :]:
            for name, value in line.items():
                if name != "epoch":
                    writer.add_scalar(f"pretrain/{name}", value, line["epoch"])
        writer.flush()
        self._upload()
        self._writer, self._drawn = writer, len(history)

    def _upload(self) -> None:
        if self._local is not None:
            for file in self._local.iterdir():
                self._folder.write_bytes(file.read_bytes(), "tensorboard", file.name)
