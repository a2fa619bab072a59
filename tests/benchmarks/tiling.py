"""How fast slides become patches, against the common way and against the floor.

    python -m tests.benchmarks.tiling --fine 40x.svs --coarse 20x.svs --tiles 256px-tiles.svs --large 40x-four-times.svs

`--fine` is a slide at 0.25 um per pixel, `--coarse` and `--tiles` are at 0.5, `--tiles` has JPEG tiles of 256 px, and
`--large` is like `--fine` with four times the pixels. Each figure is the median of interleaved pairs, in processes
that are held on one core. The common way is one OpenSlide `read_region` per patch, PIL Lanczos, PIL JPEG of quality 90.
The floor decodes every tile once, resizes every patch once and encodes every patch once, with nothing in between.
hs2p and tiatoolbox are printed beside where they are installed (extra `bench`), as they come, in one process.
"""

import argparse
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks import peers
from tests.benchmarks.prepared import QUALITY, prepared

_CASES = {  # option: keys of the patch set, target against the common way
    "fine": ({"um": 200, "px": 512}, 4.2),
    "coarse": ({"mpp": "native", "px": 224}, 3.5),
    "tiles": ({"mpp": "native", "px": 256}, 20.0),
}
_FLOOR = 0.8
_PAIRS = 7
_SLIDES = 12


def _ours(path: str, keys: dict[str, Any]) -> float:
    """Patches per second from the closed slide to files in a spool."""
    from raysweep.patches.shuffle.spool import write_piece
    from raysweep.slides.cut import read_cut
    from raysweep.slides.slide import Slide
    from raysweep.storage import Storage

    spec, grid, copy, regions = prepared(path, keys)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        for number, places in enumerate(regions):
            cut = None  # as in the pipeline, nothing of the last one is kept
            with Slide(path) as slide:
                cut = read_cut(slide, "slide", places, grid, spec, 0, copy=copy)
            write_piece(Storage.open(folder), cut.rows, f"{number}.arrow", rejected=cut.rejected)
        return sum(map(len, regions)) / (time.perf_counter() - started)


def _common(path: str, keys: dict[str, Any]) -> float:
    """Patches per second of one read, one resize and one encoding each."""
    import openslide

    spec, grid, _, regions = prepared(path, keys)
    started = time.perf_counter()
    with openslide.OpenSlide(path) as slide:
        for places in regions:
            for corner, box in zip(places.corner.tolist(), places.box.tolist(), strict=True):
                _common_jpeg(_common_pixels(slide, corner, box, grid.level, spec.px))
    return sum(map(len, regions)) / (time.perf_counter() - started)


def _common_pixels(slide, corner: list[int], box: list[int], level: int, px: int):
    from PIL import Image

    size = (box[2] - box[0], box[3] - box[1])
    patch = slide.read_region(tuple(corner), level, size).convert("RGB")
    return patch if size == (px, px) else patch.resize((px, px), Image.Resampling.LANCZOS)


def _common_jpeg(patch) -> bytes:
    sink = io.BytesIO()
    patch.save(sink, "JPEG", quality=QUALITY)
    return sink.getvalue()


def _floor(path: str, keys: dict[str, Any]) -> float:
    """Patches per second of the three steps alone, each timed over all tiles or patches."""
    import numpy as np
    import simplejpeg
    import torch

    from raysweep.slides.slide import Slide

    spec, grid, _, regions = prepared(path, keys)
    decode = resize = encode = 0.0
    n = sum(map(len, regions))
    with Slide(path) as slide:
        reader: Any = slide.reader
        (width, height), columns = reader.tile_grid(grid.level)
        memory = np.empty((height, width, 3), np.uint8)
        under = {
            row * columns + column
            for places in regions
            for x0, y0, x1, y1 in places.box.tolist()
            for row in range(y0 // height, -(-y1 // height))
            for column in range(x0 // width, -(-x1 // width))
        }
        for tile in sorted(under):
            data = reader.tile_jpeg(grid.level, tile)
            started = time.perf_counter()
            simplejpeg.decode_jpeg(data, "RGB", buffer=memory)
            decode += time.perf_counter() - started
        for places in regions:
            for crop in slide.crops(grid.level, places.box):
                started = time.perf_counter()
                if crop.shape[:2] != (spec.px, spec.px):
                    planes = torch.from_numpy(crop.reshape(1, *crop.shape)).permute(0, 3, 1, 2)
                    small = torch.nn.functional.interpolate(
                        planes, size=(spec.px, spec.px), mode="bicubic", antialias=True
                    )
                    crop = small[0].permute(1, 2, 0).contiguous().numpy()
                resized = time.perf_counter()
                simplejpeg.encode_jpeg(crop, QUALITY, "RGB", "420")
                resize += resized - started
                encode += time.perf_counter() - resized
    return n / (decode + resize + encode)


def _quality(path: str, keys: dict[str, Any]) -> dict[str, float]:
    """Peak signal-to-noise ratios, dB, against the common way's pixels before it encodes them: ours, and its own."""
    import numpy as np
    import openslide
    from PIL import Image

    from raysweep.patches.codec import decode
    from raysweep.slides.cut import read_cut
    from raysweep.slides.slide import Slide

    spec, grid, copy, regions = prepared(path, keys)
    places = max(regions, key=len).pick(np.arange(0, len(max(regions, key=len)), 8))
    errors: dict[str, list[float]] = {"ours": [], "its own JPEG": []}
    with Slide(path) as slide, openslide.OpenSlide(path) as other:
        cut = read_cut(slide, "slide", places, grid, spec, 0, copy=copy)
        images = {(row["x"], row["y"]): row["image"] for row in cut.rows.to_pylist()}
        for corner, box in zip(places.corner.tolist(), places.box.tolist(), strict=True):
            if tuple(corner) not in images:
                continue
            wanted = _common_pixels(other, corner, box, grid.level, spec.px)
            pixels = np.asarray(wanted, float)
            own = np.asarray(Image.open(io.BytesIO(_common_jpeg(wanted))), float)
            errors["ours"].append(float(np.mean((decode(images[tuple(corner)]).astype(float) - pixels) ** 2)))
            errors["its own JPEG"].append(float(np.mean((own - pixels) ** 2)))
    return {name: 10 * float(np.log10(255**2 / max(1e-9, np.mean(found)))) for name, found in errors.items()}


def _memory(path: str, keys: dict[str, Any]) -> float:
    """Peak memory, MiB, of a process that surveys a slide and reads all its patches."""
    _ours(path, keys)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _end_to_end(path: str, keys: dict[str, Any]) -> float:
    """Patches per second from slides to shuffled shards with two workers of Ray Data, which are up already.

    The slide counts as `_SLIDES` slides: with few regions two workers could not share the work evenly.
    """
    import ray
    from rich.console import Console

    from raysweep.progress import Progress
    from raysweep.slides.inputs import patch_set_inputs
    from raysweep.slides.spec import PatchSetSpec
    from raysweep.slides.table.entries import read_slides
    from raysweep.slides.tile import tile
    from raysweep.storage import Artefact, Storage

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=2**30)
    with tempfile.TemporaryDirectory() as name:
        home = Storage.open(name)
        rows = [f"{number},{Path(path).absolute()}" for number in range(_SLIDES)]
        table_csv = Path(name) / "slides.csv"
        table_csv.write_text("\n".join(["slide,path", *rows]))
        seconds = []
        # The first one starts the workers, the second one shows what any start costs.
        for turn, more in enumerate(({"per_slide": 20}, {"per_slide": 1}, {})):
            spec = PatchSetSpec(slides=str(table_csv), quality=QUALITY, **keys, **more)
            slides = read_slides(spec, Path.cwd())
            artefact = Artefact(home.at("set"), patch_set_inputs(spec, slides, turn))
            started = time.perf_counter()
            quiet = Progress(Console(file=io.StringIO()), quiet=True)
            table = tile(spec, slides, artefact, home.at("spool"), seed=turn, workers=2, progress=quiet)
            seconds.append(time.perf_counter() - started)
    ray.shutdown()
    return sum(table["n_patches"].to_pylist()) / (seconds[2] - seconds[1])


_PARTS: dict[str, Callable[[str, dict[str, Any]], Any]] = {
    "ours": _ours, "common": _common, "floor": _floor, "quality": _quality, "memory": _memory, "both": _end_to_end,
    "hs2p": peers.hs2p, "tiatoolbox": peers.tiatoolbox,
}  # fmt: skip
_PEERS = ("hs2p", "tiatoolbox")


def _measure(part: str, path: str, keys: dict[str, Any], cores: tuple[int, ...] = (0,)) -> Any:
    """One part in a process of its own, held on some cores."""
    return _result(_start(part, path, keys, cores))


def _start(part: str, path: str, keys: dict[str, Any], cores: tuple[int, ...]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.benchmarks.tiling", "--part", part, path, json.dumps(keys)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"}
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, preexec_fn=lambda: os.sched_setaffinity(0, cores), **pipes)


def _result(process: subprocess.Popen[str]) -> Any:
    out, err = process.communicate()
    if process.returncode:
        raise SystemExit(err)
    return json.loads(out.splitlines()[-1])


def _verdict(value: float, target: float) -> str:
    return f"{value:.2f} (target {target:g}, {'met' if value >= target else 'MISSED'})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs=3, metavar=("PART", "SLIDE", "KEYS"), help=argparse.SUPPRESS)
    for name in (*_CASES, "large"):
        parser.add_argument(f"--{name}")
    args = parser.parse_args()
    if args.part:
        part, path, keys = args.part
        print(json.dumps(_PARTS[part](path, json.loads(keys))))
        return
    for name, (keys, target) in _CASES.items():
        path = getattr(args, name)
        if path is None:
            continue
        rates = [{part: _measure(part, path, keys) for part in ("ours", "common", "floor")} for _ in range(_PAIRS)]
        ours, common, floor = (statistics.median(rate[part] for rate in rates) for part in ("ours", "common", "floor"))
        over = statistics.median(rate["ours"] / rate["common"] for rate in rates)
        share = statistics.median(rate["ours"] / rate["floor"] for rate in rates)
        print(f"{name} {keys}: {ours:.0f} patches/s a core, common way {common:.0f}, floor {floor:.0f}")
        print(f"  against the common way: {_verdict(over, target)}; of the floor: {_verdict(share, _FLOOR)}")
        for peer in filter(peers.installed, _PEERS):
            print(f"  {peer}: {_measure(peer, path, keys):.0f} patches/s")
        noise = _measure("quality", path, keys)
        ratios = ", ".join(f"{key} {value:.1f} dB" for key, value in noise.items())
        print(f"  PSNR to the common way's pixels: {ratios}")
    if args.fine:
        everything = {**_CASES["fine"][0], "tissue": "all"}  # glass as well: the same work for both
        path = args.large or args.fine
        alone = statistics.median(_measure("ours", path, everything) for _ in range(3))
        both = _measure("both", path, everything, (0, 1))
        beside = sum(map(_result, [_start("ours", path, everything, (core,)) for core in (0, 1)]))
        print(f"end to end, 2 workers: {both:.0f} patches/s, of 2 cores: {_verdict(both / alone / 2, _FLOOR)}")
        print(f"  two readers at once, one a core, without Ray and shards: {beside / alone / 2:.2f} of 2 cores")
    if args.fine and args.large:
        small, large = (_measure("memory", path, _CASES["fine"][0]) for path in (args.fine, args.large))
        growth = f"{large / small:.3f} (at most 1.1)"
        print(f"peak memory: {small:.0f} MiB, slide four times as large {large:.0f} MiB: {growth}")


if __name__ == "__main__":
    main()
