"""Bytes that tiling fetches of a slide on S3, against those of the slide, which a copy takes.

    python -m tests.benchmarks.far [SLIDE] [--um 112 --px 224]

The server is on loopback, in this process. Without a slide one is drawn: 16,384 x 8,192 pixels at 0.5 um in JPEG tiles
of 256, a tenth of it tissue.
"""

import argparse
import tempfile
import time
from pathlib import Path

from raysweep.slides.cut import read_cut
from raysweep.slides.sidecars import Sidecars
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.survey import survey
from raysweep.slides.table.entries import SlideEntry
from tests.bucket import Bucket, Gate, serve_bucket
from tests.slides.slidemaker import grainy, slide_with_tissue, write_slide

_TARGET = 2.0


def _tiled(address: str, spec: PatchSetSpec, by_parts: bool) -> tuple[int, float, bool]:
    """Patches, seconds, and whether the slide was read by parts."""
    entry, started = SlideEntry("a", address), time.perf_counter()
    with Sidecars.of(entry, 10**12, by_parts=by_parts) as sidecars, sidecars.slide(spec) as slide:
        found = survey(slide, sidecars, spec, (), 0, cut_mpx=128)
    n = 0
    for places in found.cuts:
        assert found.grid is not None
        with Sidecars.of(entry, 10**12, by_parts=by_parts) as sidecars, sidecars.slide(spec) as slide:
            n += read_cut(slide, "a", places, found.grid, spec, 0).rows.num_rows
    return n, time.perf_counter() - started, sidecars.reader is not None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", nargs="?", type=Path)
    parser.add_argument("--um", type=float, default=112)
    parser.add_argument("--px", type=int, default=224)
    args = parser.parse_args()
    spec = PatchSetSpec(slides="a", um=args.um, px=args.px)
    with tempfile.TemporaryDirectory() as name, serve_bucket() as bucket:
        path = args.slide or write_slide(
            Path(name) / "drawn.svs", grainy(slide_with_tissue(16384, 8192, (3000, 2000, 7000, 5350))),
            compression="jpeg", tile=256, downsamples=(4, 16),
        )  # fmt: skip
        tempfile.tempdir = name  # copies go with it
        size = len(data := path.read_bytes())
        bucket.put(path.name, data)
        for by_parts in (True, False):
            gate = Gate(bucket.port, 10**15)
            n, seconds, parts = _tiled(Bucket(gate.port).address(path.name), spec, by_parts)
            gate.close()
            how, ratio = ("by parts" if parts else "copied"), size / gate.passed
            verdict = f", {ratio:.2f} times less (target {_TARGET:g}, {'met' if ratio >= _TARGET else 'MISSED'})"
            print(f"{how}: {gate.passed / 1e6:.1f} of {size / 1e6:.1f} MB{verdict if parts else ''}, "
                  f"{n} patches, {seconds:.1f} s on loopback")  # fmt: skip


if __name__ == "__main__":
    main()
