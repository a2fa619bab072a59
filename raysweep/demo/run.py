"""The whole chain on slides and labelled sets that raysweep draws itself."""

from pathlib import Path

from raysweep.local_path import local_path
from raysweep.progress import Progress
from raysweep.study.load import load_study
from raysweep.study.run import Outcome, run_study

_SEED = 0


def run_demo(out: Path, *, progress: Progress) -> Outcome:
    """Draw slides and tasks below `out/data`, run the study `demo` with its artefacts below `out`, and report.

    What exists already is not made again.
    """
    from raysweep.demo.sets import write_sets
    from raysweep.demo.slides import write_slides

    out = local_path(out, "--out")
    data = out / "data"
    progress.say(f"demo: slides and labelled sets in {data}")
    write_slides(data / "slides", seed=_SEED)
    write_sets(data, seed=_SEED)
    return run_study(load_study("demo", [f"data={data.absolute()}", f"storage={out.absolute()}"]), progress=progress)
