"""What a training shows while it runs: `metrics.jsonl`, TensorBoard events, trackers, and how far it has come."""

import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from raysweep.errors import WorkError
from raysweep.pretrain.gauges import Gauges
from raysweep.pretrain.trackers import Trackers
from raysweep.storage import Storage

METRICS = "metrics.jsonl"
LIVE = ("resume", "live.json")
CORRUPT = ("resume", "corrupt.json")
SAID = ("resume", "said.json")
_LOG = logging.getLogger(__name__)
_LIVE_SECONDS = 2.0  # between notes of how far it is


def speed_of(line: dict[str, Any]) -> dict[str, float]:
    """`images_per_second` of an epoch's line, and `wait_share`: the part of its time that went by waiting for data."""
    seconds = max(line["epoch_seconds"], 1e-9)
    return {"images_per_second": line["images"] / seconds, "wait_share": line["wait_seconds"] / seconds}


class Log:
    """Written by rank 0. `trackers` makes those asked for, given what to say when one of them fails.

    A disk without room stops no training: what could not be written is written later.
    """

    def __init__(
        self,
        folder: Storage,
        *,
        epochs_done: int,
        gauges: Gauges | None = None,
        trackers: Callable[[Callable[[str], None]], Trackers] | None = None,
    ) -> None:
        self._folder, self._gauges = folder, gauges
        self._last = time.monotonic()
        self._images = self._waited = 0.0  # of this process, when it was last noted how far it is
        self._said: list[str] = folder.read_json(*SAID) if folder.exists(*SAID) else []
        self._local = None if folder.is_local else Path(tempfile.mkdtemp(prefix="raysweep-events-"))
        self._events_at = folder.path("tensorboard") if self._local is None else str(self._local)
        self._writer: SummaryWriter | None = None
        self._drawn = epochs_done  # epochs that TensorBoard has
        self._unwritten = b""  # metrics of every epoch, while they could not be written
        self._trackers = trackers(self.say) if trackers else None

    def step(self, images: int, *, loss: Tensor, lr: float, batch: int, waited: float) -> None:
        """A step is done; `images` of the whole training have been worked on, `batch` of them in this step.

        `loss` is the step's; `waited` seconds of it went by until its batch was there.
        """
        self._images += batch
        self._waited += waited
        now = time.monotonic()
        if now - self._last >= _LIVE_SECONDS:
            seconds, self._last = now - self._last, now
            with suppress(WorkError):  # the next note will do
                self._folder.write_json({"images": images}, *LIVE)
            if self._gauges:
                self._gauges.set(
                    loss=float(loss), lr=lr, images_per_second=self._images / seconds, wait_share=self._waited / seconds
                )
            self._images = self._waited = 0.0

    def epoch(self, history: list[dict[str, Any]]) -> None:
        """An epoch is complete; `history` holds the figures of every epoch so far."""
        # whole, so that a repeated epoch is there once
        self._unwritten = "".join(json.dumps(line) + "\n" for line in history).encode()
        try:
            self._write()
            self._draw(history)
        except (OSError, WorkError) as error:
            _LOG.warning("figures of epoch %d could not be written yet (%s)", len(history), error)
        if self._trackers:
            self._trackers.log(_figures(history[-1]), history[-1]["epoch"])

    def say(self, sentence: str) -> None:
        """Something that people are told once, on the driver."""
        if sentence not in self._said:
            self._said.append(sentence)
            with suppress(WorkError):
                self._folder.write_json(self._said, *SAID)

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
        if self._trackers:
            self._trackers.close()
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
            for name, value in _figures(line).items():
                writer.add_scalar(f"pretrain/{name}", value, line["epoch"])
        writer.flush()
        self._upload()
        self._writer, self._drawn = writer, len(history)

    def _upload(self) -> None:
        if self._local is not None:
            for file in self._local.iterdir():
                self._folder.write_bytes(file.read_bytes(), "tensorboard", file.name)


def _figures(line: dict[str, Any]) -> dict[str, float]:
    """What is shown of an epoch's line."""
    return {name: value for name, value in line.items() if name != "epoch"} | speed_of(line)
