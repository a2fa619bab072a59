"""What the driver holds while slides are tiled, by counting at two sizes: `python -m tests.benchmarks.regions`.

All slides are one small file under many names, so Ray's own work is nearly all there is. Memory is what the process
of the driver has itself (RssAnon), read while results come; each size runs in a process and a Ray of its own.

Last figures (2 busy cores): all slides in one pipeline, 300: 26.5 MB, 900: 57.2 MB. In waves of 150, 300: 21.0 MB,
900: 30.0 MB: each wave leaves 2.2 MB, so with waves of 1,000 slides a tenth of what one pipeline adds.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.slides.slidemaker import tissue, write_slide


def anonymous_mb() -> float:
    """What this process holds that is no file's, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024 / 1e6


def one(slides: int, wave: int, one_pass: bool) -> dict[str, float]:
    import ray

    from raysweep.slides import pipeline
    from raysweep.slides.pipeline import Cutting, Limits, SlideTask, read_slides_into
    from raysweep.slides.spec import PatchSetSpec
    from raysweep.slides.table.entries import SlideEntry
    from raysweep.storage import Storage

    pipeline._WAVE = wave
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    cutting = Cutting(PatchSetSpec(slides="x", um=32, px=32), (), 0, False, Limits())
    with tempfile.TemporaryDirectory() as folder:
        path = str(write_slide(Path(folder) / "a.svs", tissue(64, 64), compression="jpeg"))
        names = [f"slide-{number:06d}" for number in range(slides)]
        tasks = [SlideTask(SlideEntry(name, path), f"of-{name}", one_pass) for name in names]
        before, most, began = anonymous_mb(), 0.0, time.monotonic()
        for number, result in enumerate(
            read_slides_into(Storage.open(f"{folder}/spool"), tasks, cutting, workers=None, tell=print)
        ):
            assert result["error"] is None
            if number % 50 == 0:
                most = max(most, anonymous_mb())
    assert number == slides - 1
    return {"slides": slides, "driver_mb": most - before, "seconds": time.monotonic() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", type=int, nargs="+", default=[500, 2000])
    parser.add_argument("--wave", type=int, default=1000, help="slides of one pipeline")
    parser.add_argument("--one-pass", action="store_true")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(given.one, given.wave, given.one_pass)))
        return
    for slides in given.slides:
        command = [sys.executable, "-m", "tests.benchmarks.regions", "--one", str(slides), "--wave", str(given.wave)]
        ran = subprocess.run(command + ["--one-pass"] * given.one_pass, capture_output=True, text=True, check=True)
        found = json.loads(ran.stdout.splitlines()[-1])
        print(f"{slides:6d} slides: driver {found['driver_mb']:6.1f} MB, {found['seconds']:6.1f} s", flush=True)


if __name__ == "__main__":
    main()
