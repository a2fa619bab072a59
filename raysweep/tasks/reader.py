"""How the names that samples give become pixels."""

import os
import threading
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from raysweep.storage import file_identity
from raysweep.tasks.files import IMAGE_SUFFIXES, load_image, load_mask, mask_colours
from raysweep.tasks.masks import MaskOptions
from raysweep.tasks.sample import Sample


class Reader:
    """Images and masks are picture files below the root, and masks number objects where the layout's `masks` say so.

    A layout of other files derives from it, in its own file. Images or masks that are rows of larger files are named
    `file#row`; such a reader sets `containers`, and each file is looked at and hashed once for all of its rows. It may
    be pickled, and used by several threads. Methods raise OSError or WorkError for what cannot be read.
    """

    containers: ClassVar[bool] = False

    def __init__(self, options: Any, root: Path) -> None:
        self.options, self.root = options, root
        self._base = f"{root.absolute().as_posix().rstrip('/')}/"
        self._lock = threading.RLock()
        self._facts: dict[tuple[str, str], str] = {}

    def image(self, name: str) -> Image.Image:
        """The picture as 8-bit RGB."""
        return load_image(self.root / name)

    def size(self, name: str) -> tuple[int, int]:
        """Width and height, once the picture was decoded to its last pixel (rows of a container: as it says)."""
        return self.image(name).size

    def data(self, name: str) -> bytes | None:
        """The encoded picture; None where there is none."""
        return (self.root / name).read_bytes()

    def mask(self, sample: Sample) -> np.ndarray:
        """What becomes class ids by the layout's `masks`: an integer array (h, w), of values from 0 on."""
        return load_mask(self.root / str(sample.mask), getattr(self.options, "masks", MaskOptions()).channel)

    def colours(self, sample: Sample, mask: np.ndarray) -> dict[int, tuple[int, ...]]:
        """Of a mask file with a palette, the colour of each number that its `mask` shows; else nothing."""
        file = str(sample.mask)
        picture = not self.containers and os.path.splitext(file)[1].lower() in IMAGE_SUFFIXES
        return mask_colours(self.root / file, mask) if picture else {}

    @property
    def numbered(self) -> bool:
        """Whether masks tell objects apart, so that there are `instances`."""
        masks = getattr(self.options, "masks", None)
        return masks is not None and masks.numbered

    def instances(self, sample: Sample) -> np.ndarray:
        """Object numbers, an integer array (h, w); 0 is no object. Only where masks are `numbered`."""
        return self.mask(sample)

    def inputs(self) -> dict[str, Any]:
        """Options that change what `image`, `mask` and `instances` give for the same files."""
        return {}

    def part(self, name: str) -> tuple[str, str]:
        """The file below the root that a name stands for, and the row of it; no row where a file is one picture."""
        if not self.containers or "#" not in name:
            return name, ""
        file, _, row = name.rpartition("#")
        return file, row

    def stamp(self, name: str) -> str:
        """Size and time of its file: where they are the same, it need not be read again."""
        return self._of_file("stamp", name)

    def identity(self, name: str) -> str:
        """What names the bytes of an image or a mask: a hash of its file, and the row."""
        row = self.part(name)[1]
        return self._of_file("identity", name) + (f"#{row}" if row else "")

    def _of_file(self, what: str, name: str) -> str:
        file, row = self.part(name)
        take = _stamp if what == "stamp" else _identity
        if not row:
            return take(self._base + file)
        with self._lock:
            if (what, file) not in self._facts:
                self._facts[what, file] = take(self._base + file)
            return self._facts[what, file]

    def __getstate__(self) -> dict[str, Any]:
        return {"options": self.options, "root": self.root}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _stamp(path: str) -> str:
    facts = os.stat(path)
    return f"{facts.st_size}-{facts.st_mtime_ns}"


def _identity(path: str) -> str:
    identity = file_identity(path)
    return f"{identity['size']}-{identity['hash']}"
