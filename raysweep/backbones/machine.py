"""The processor or GPU that networks run on here: what it is called, and what work takes on it."""

import functools
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MOST_SECONDS = 1.2  # that two images may take where networks are measured
_PASSES, _BATCH, _GPU_BATCH = 3, 8, 32
_EDGE, _PRODUCTS = 1024, 3  # of the matrices whose product says how fast it is


@functools.cache
def machine() -> dict[str, Any]:
    """What makes times here comparable: `processor`, `cpus`, `gpu` (empty: none), `gpus`. Imports nothing heavy."""
    gpus = _gpus()
    return {"processor": _processor(), "cpus": os.cpu_count() or 1, "gpu": gpus[0] if gpus else "", "gpus": len(gpus)}


def seconds_of(work: Callable[[], Any], *, threads: int = 1) -> float:
    """Seconds that work takes: of a GPU, else of `threads` processor threads that have nothing else to do.

    On a processor it is the process's CPU time by threads, not the clock's: what else the machine is doing does not
    count. Nothing else may run in this process meanwhile.
    """
    import torch

    if not machine()["gpu"]:
        started = time.process_time()
        work()
        return (time.process_time() - started) / threads
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def timed(work: Callable[[], Any], *, threads: int = 1) -> float:
    """Seconds of one run of a work: the first is not counted, and there are fewer where that was long."""
    first = seconds_of(work, threads=threads)
    passes = _PASSES if first < MOST_SECONDS / _PASSES else 2
    return min(seconds_of(work, threads=threads) for _ in range(passes))  # the others were disturbed


def batch_for(seconds: float, most: int | None = None) -> int:
    """How many images to measure with, by what one is likely to take; `most`: as many as are run at a time."""
    most = most or (_GPU_BATCH if machine()["gpu"] else _BATCH)
    return max(1, min(most, int(MOST_SECONDS / 2 / max(seconds, 1e-9))))


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Torch with so many processor threads for a while, at most one for each processor."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(min(threads, machine()["cpus"]))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def flops_per_second(*, threads: int = 1) -> float:
    """Floating-point operations in a second of large matrix products, in the precision that training has here."""
    import torch

    gpu = bool(machine()["gpu"])
    matrix = torch.ones(_EDGE, _EDGE, device="cuda" if gpu else "cpu", dtype=torch.bfloat16 if gpu else torch.float32)
    times = [seconds_of(lambda: matrix @ matrix, threads=threads) for _ in range(_PRODUCTS + 1)]
    return 2 * _EDGE**3 / max(min(times[1:]), 1e-9)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux, or not x86
        return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    """NVIDIA GPUs that may be used, as their driver calls them; what is not Linux is asked by torch."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen in ("", "-1"):
        return []
    if platform.system() != "Linux":
        import torch

        return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    found = []
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        lines = file.read_text().splitlines()
        found += [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    return found if chosen is None else found[: len(chosen.split(","))]
