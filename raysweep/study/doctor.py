"""Is this machine fit for a study? What is wrong, and what to do about it."""

import importlib.metadata
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from raysweep.addresses import shown
from raysweep.errors import RequestError, WorkError, reason_of
from raysweep.storage import Storage
from raysweep.versions import versions

_LEAST_FREE_GB = 10


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: `ok` is True, False (it must be mended) or None (good to know)."""

    ok: bool | None
    what: str
    found: str
    advice: str = ""


def checks(storage: str) -> Iterator[Check]:
    """Look at Python, packages, torch, slide libraries, Ray and the storage, one after the other."""
    python = ".".join(map(str, sys.version_info[:3]))
    yield Check(
        sys.version_info >= (3, 11), "Python", python, "" if sys.version_info >= (3, 11) else "use 3.11 or newer"
    )
    for name, version in versions().items():
        yield Check(True, name, version)
    for what, look in (("torch and torchvision", _torch), ("OpenSlide", _openslide), ("JPEG codec", _jpeg)):
        yield _guarded(what, look)
    yield _guarded("Ray", _ray)
    yield _guarded(f"storage {shown(storage)}", lambda: _storage(storage))


def _guarded(what: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except Exception as error:
        return Check(False, what, reason_of(error), "install again: pip install -U raysweep")


def _torch() -> Check:
    import torch
    import torchvision

    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)  # fails when the two are no matching pair
    if torch.cuda.is_available():
        return Check(
            True, "torch and torchvision", f"a pair; {torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
        )
    return Check(None, "torch and torchvision", "a pair; no GPU", "fine for small studies; see README, On a cluster")


def _openslide() -> Check:
    import openslide

    return Check(True, "OpenSlide", openslide.__library_version__)


def _jpeg() -> Check:
    import numpy as np

    from raysweep.patches.codec import decode, encode_jpeg

    grey = np.full((16, 16, 3), 128, np.uint8)
    off = int(np.abs(decode(encode_jpeg(grey, 90)).astype(int) - 128).max())
    return Check(off <= 2, "JPEG codec", f"simplejpeg {importlib.metadata.version('simplejpeg')}")


def _ray() -> Check:
    from raysweep.study.cluster import cluster, named_cluster

    address = named_cluster()
    if not address:
        return Check(None, "Ray", "no RAY_ADDRESS: studies run on this machine", "set RAY_ADDRESS to use a cluster")
    import ray

    from raysweep.progress import Progress

    try:
        with cluster(Progress(quiet=True)):
            found = ray.cluster_resources()
    except (RequestError, WorkError) as error:
        return Check(False, "Ray", f"{address}: cannot be used", str(error))
    return Check(True, "Ray", f"{address}: {int(found.get('CPU', 0))} CPUs, {int(found.get('GPU', 0))} GPUs")


def _storage(storage: str) -> Check:
    folder = Storage.open(storage)
    try:
        folder.check_writable()
    except RequestError as error:
        return Check(False, f"storage {shown(storage)}", "cannot be written", str(error))
    if not folder.is_local:
        return Check(True, f"storage {shown(storage)}", "can be written")
    free = shutil.disk_usage(folder.root if Path(folder.root).exists() else tempfile.gettempdir()).free / 1e9
    enough = free >= _LEAST_FREE_GB
    advice = "" if enough else f"patch sets need room: free some, at least {_LEAST_FREE_GB} GB"
    return Check(enough, f"storage {shown(storage)}", f"can be written; {free:.0f} GB free", advice)
