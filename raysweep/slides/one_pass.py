"""Which slides are surveyed and read by one task, since each task more could cost another copy of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.fs as pafs
import ray

from raysweep.addresses import is_address, locate
from raysweep.slides.table.entries import SlideEntry


def read_in_one_pass(
    slides: Sequence[SlideEntry], identified: Mapping[str, Any], fetch_bytes: int, workers: int | None
) -> set[str]:
    """Names of slides on object storage that are better read by one task each, on the node that has its copy.

    Surveys run far ahead of the reading of what they lay out, on any node. So a copy would be gone when it is wanted
    again if all of them are more than `fetch_bytes`, the space of a node, and be made on several nodes of a cluster.
    But such slides are not spread over CPUs, so there are none where slides are less than half of the `workers`
    (None: all CPUs).

    Args:
        slides: that are to be read.
        identified: their entries of `patch_set_inputs(...)["slides"]`, by name.
    """
    far = [slide for slide in slides if is_address(slide.path) and _copied(slide.path)]
    if not far:
        return set()
    size = sum(_bytes(identified[slide.name]["identity"]) for slide in far)
    nodes = sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes())
    at_once = workers or ray.cluster_resources().get("CPU", 0)
    if 2 * len(far) < at_once or (size <= fetch_bytes and nodes <= 1):
        return set()
    return {slide.name for slide in far}


def _copied(path: str) -> bool:
    return not isinstance(locate(path)[0], pafs.LocalFileSystem)


def _bytes(identity: Mapping[str, Any]) -> int:
    return int(identity["size"]) + sum(int(part["size"]) for part in identity.get("files", ()))
