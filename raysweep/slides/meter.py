"""Tiling in numbers that a cluster's dashboards show."""

from ray.util.metrics import Counter, Gauge

_ABOUT = {
    "done": "slides tiled",
    "failed": "slides that failed",
    "skipped": "slides that had nothing to give",
    "patches": "patches cut",
    "bytes": "bytes of encoded patches",
}
_SLIDES = ("done", "failed", "skipped")


class Meter:
    """What tiling has done as Ray metrics, tagged with the patch set.

    Ray exports the counters as `ray_raysweep_tile_patches_total` and so on, and the slides that are neither done,
    failed nor skipped yet as the gauge `ray_raysweep_tile_left`, from whose slope a dashboard tells the time left.
    """

    def __init__(self, patch_set: str, slides: int) -> None:
        self._counters = {
            name: Counter(f"raysweep_tile_{name}", about, ("patch_set",)) for name, about in _ABOUT.items()
        }
        self._left = Gauge("raysweep_tile_left", "slides that are still to be tiled", ("patch_set",))
        self._tags = {"patch_set": patch_set}
        self._n_left = slides
        self.resume(0)

    def resume(self, slides: int) -> None:
        """So many were tiled by an earlier run: they are not left, and were counted then."""
        self._n_left -= slides
        self._left.set(self._n_left, self._tags)

    def count(self, **counts: int) -> None:
        """`done`, `failed` and `skipped` slides, `patches` and `bytes` not counted before."""
        for name, n in counts.items():
            if n:
                self._counters[name].inc(n, self._tags)
        self._n_left -= sum(counts.get(name, 0) for name in _SLIDES)
        self._left.set(self._n_left, self._tags)
