"""Tiling in numbers that a cluster's dashboards show."""

from ray.util.metrics import Counter

_ABOUT = {
    "done": "slides tiled",
    "failed": "slides that failed",
    "skipped": "slides that had nothing to give",
    "patches": "patches cut",
    "bytes": "bytes of encoded patches",
}


class Meter:
    """Counts what tiling has done as Ray metrics: `ray_raysweep_tile_patches` and so on, tagged with the patch set."""

    def __init__(self, patch_set: str) -> None:
        self._counters = {
            name: Counter(f"raysweep_tile_{name}", about, ("patch_set",)) for name, about in _ABOUT.items()
        }
        self._tags = {"patch_set": patch_set}

    def count(self, **counts: int) -> None:
        """`done`, `failed` and `skipped` slides, `patches` and `bytes` so far unheard of."""
        for name, n in counts.items():
            if n:
                self._counters[name].inc(n, self._tags)
