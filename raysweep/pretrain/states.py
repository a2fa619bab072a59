"""States of a training, kept so that it can go on after a death: written in the background, whole or not at all."""

import copy
import io
import logging
import pickle
import re
import zipfile
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from raysweep.backbones.torch_file import load_tensors
from raysweep.errors import WorkError
from raysweep.storage import Storage

_NAME = re.compile(r"step-(\d+)\.pt$")
_LOG = logging.getLogger(__name__)


class States:
    """The last few states of one training, in a folder that every rank sees. Written by rank 0."""

    def __init__(self, folder: Storage, *, keep: int = 2) -> None:
        self._folder, self._keep = folder, keep
        self._writer = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None

    def last(self) -> dict[str, Any] | None:
        """The newest state that can be read, tensors on the CPU; None when there is none."""
        for step in sorted(_steps(self._folder), reverse=True):
            try:
                data = io.BytesIO(self._folder.read_bytes(_name(step)))
                return load_tensors(data)
            except (OSError, RuntimeError, EOFError, ValueError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
                # written in parts, or by something else than us
                _LOG.warning("state of step %d cannot be read (%s); an older one is used", step, error)
        return None

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Copy a state now and write it while training goes on; a state that is still being written is waited for.

        A state that cannot be written (a full disk) is given up with a warning: those before it are still there.
        """
        self.wait()
        self._pending = self._writer.submit(self._write, step, _copied(state))

    def wait(self) -> None:
        """Until the state that is being written is there."""
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def close(self) -> None:
        self.wait()
        self._writer.shutdown()

    def _write(self, step: int, state: dict[str, Any]) -> None:
        data = io.BytesIO()
        torch.save(state, data)
        try:
            self._folder.write_bytes(data.getbuffer(), _name(step))
        except (OSError, WorkError) as error:
            _LOG.warning("state of step %d could not be written (%s); the one before it is kept", step, error)
            return
        for old in sorted(_steps(self._folder))[: -self._keep]:
            self._folder.remove(_name(old))

    @staticmethod
    def newest(folder: Storage) -> int:
        """The step of the newest state in a folder; 0 when there is none."""
        return max(_steps(folder), default=0)


def _steps(folder: Storage) -> list[int]:
    return [int(found[1]) for name in folder.names() if (found := _NAME.match(name))]


def _name(step: int) -> str:
    return f"step-{step:09d}.pt"


def _copied(value: Any) -> Any:
    """The same on the CPU, in memory of its own: training goes on changing the tensors."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(part) for part in value)
    return copy.copy(value)
