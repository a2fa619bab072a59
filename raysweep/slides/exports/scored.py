"""Scored patches of many slides for QuPath, written as they come."""

import json
import os
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from raysweep.errors import WorkError
from raysweep.slides.table.entries import file_stem

_HELD = 2**25  # characters kept before they are written: neighbours in a patch set are of many slides
_COLOURS = (  # Okabe & Ito's, "Color Universal Design" (2008), black last
    (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), (240, 228, 66),
    (0, 0, 0),
)  # fmt: skip
_HEAD, _TAIL = '{"type":"FeatureCollection","features":[', "]}"


class ScoredTiles:
    """GeoJSON files of QuPath tiles: one file, or where several slides come one for each, `NAME-SLIDE.geojson`.

    A context: files appear under their names when it ends without an error, and not at all otherwise. What is held
    does not grow with the number of patches.
    """

    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        self._path, self._classes = path, list(classes)
        self._held: dict[str, list[str]] = defaultdict(list)
        self._size = 0
        self._temporary: dict[str, Path] = {}
        self.files: list[Path] = []

    def add(
        self, slide: str, corner: tuple[int, int], edges: tuple[float, float], predicted: int,
        measurements: Mapping[str, float],
    ) -> None:  # fmt: skip
        """A patch: its top-left corner (x, y) and its width and height in level-0 pixels, QuPath's, and its class."""
        left, top = corner
        right, bottom = (_plain(start + edge) for start, edge in zip(corner, edges, strict=True))
        ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
        colour = _COLOURS[predicted % len(_COLOURS)]
        text = json.dumps(
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [ring]},
                "properties": {
                    "objectType": "tile",
                    "classification": {"name": self._classes[predicted], "color": list(colour)},
                    "measurements": {name: round(value, 6) for name, value in measurements.items()},
                },
            },
            separators=(",", ":"), ensure_ascii=False, allow_nan=False,
        )  # fmt: skip
        self._held[slide].append(text)
        self._size += len(text)
        if self._size > _HELD:
            self._write()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._write()
                if not self._temporary:  # no patch at all
                    self._append("", "")
                for slide, temporary in self._temporary.items():
                    with open(temporary, "a", encoding="utf-8") as file:
                        file.write(_TAIL)
                    os.replace(temporary, self._target(slide))
                    self.files.append(self._target(slide))
        finally:
            for temporary in self._temporary.values():
                temporary.unlink(missing_ok=True)

    def _write(self) -> None:
        for slide, texts in self._held.items():
            self._append(slide, ",".join(texts))
        self._held.clear()
        self._size = 0

    def _append(self, slide: str, text: str) -> None:
        """Files are open for as long as it takes: there may be more slides than a process may have files."""
        fresh = slide not in self._temporary
        path = self._temporary.setdefault(slide, self._path.parent / f".tmp-{uuid.uuid4().hex}")
        try:
            with open(path, "a", encoding="utf-8") as file:
                file.write((_HEAD if fresh else ",") + text)
        except OSError as error:
            raise WorkError(f"{self._target(slide)}: cannot be written ({error.strerror or error})") from error

    def _target(self, slide: str) -> Path:
        if len(self._temporary) < 2:
            return self._path
        return self._path.with_name(f"{self._path.stem}-{file_stem(slide)}{self._path.suffix}")


def _plain(edge: float) -> int | float:
    return int(edge) if edge == int(edge) else round(edge, 3)
