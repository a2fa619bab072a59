"""How many images a device takes at a time: all that are asked for, until its memory runs out."""

from collections.abc import Callable
from typing import TypeVar

import torch

_T = TypeVar("_T")
_WORDS = ("out of memory", "can't allocate memory", "not enough memory")  # of a GPU, of Linux, of Windows


class Portions:
    """`size` images at a time. Work that runs out of memory is done again with half as many, and so is all after it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.halved = False

    def run(self, work: Callable[[int], _T]) -> _T:
        """`work(size)`, which must be something that can be begun again. One image that is too large raises."""
        while True:
            try:
                return work(self.size)
            except RuntimeError as error:  # torch.OutOfMemoryError is one
                if not _out_of_memory(error) or self.size == 1:
                    raise
            self.size, self.halved = (self.size + 1) // 2, True  # here, where the error holds no tensors any more
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error).lower() for word in _WORDS)
