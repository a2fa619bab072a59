"""Many small studies one after another in one process and one Ray: what stays behind.

    python -m tests.benchmarks.soak [--studies N] [--minutes M] [--pretrain]

Each study tiles a drawn slide, searches a small network by two protocols on a drawn task, writes its report, and has a
storage of its own; with --pretrain it trains a checkpoint too. After 5 studies and after the last (as many as the
minutes allow), all garbage collected: memory, open files and threads of this process, memory and open files of Ray's
raylet and GCS, and how many folders stand in the temporary one. Of this process it is what it has written (MiB): pages
of libraries are its own only as long as no worker of Ray has the same, and come and go by 350 MiB. The target is at
most 1.2 times the memory after 50 studies against that after 5, and not one file or folder more.

Last figures (two cores, quiet, 20 s a study; 1,014.7 and 1,023.0 with the libraries, which was what this counted):

| | after 5 | after 50 | ratio |
|---|---|---|---|
| driver MiB | 1,014.7 | 1,023.0 | 1.008 |
| driver files | 40 | 40 | 1.000 |
| threads | 37 | 37 | 1.000 |
| gcs_server MiB | 51.6 | 67.2 | 1.303 |
| gcs_server files | 62 | 76 | 1.226 |
| raylet MiB | 32.4 | 36.0 | 1.111 |
| raylet files | 57 | 57 | 1.000 |
| temporary folders | 2 | 2 | 1.000 |
"""

import argparse
import gc
import os
import tempfile
import time
from pathlib import Path

import psutil
import yaml

_FIRST = 5


def _figures() -> dict[str, float]:
    gc.collect()
    own = psutil.Process()
    found = {
        "driver MiB": sum(part.private_dirty for part in own.memory_maps()) / 2**20,
        "driver files": own.num_fds(),
        "threads": own.num_threads(),
    }
    for process in own.children(recursive=True):
        for name in ("raylet", "gcs_server"):
            if name in process.name():
                found[f"{name} MiB"] = process.memory_info().rss / 2**20
                found[f"{name} files"] = process.num_fds()
    found["Ray's processes"] = len(own.children(recursive=True))
    return found | {"temporary folders": len(os.listdir(tempfile.gettempdir()))}


def _study(folder: Path, data: Path, number: int, pretrain: bool) -> Path:
    """A study of its own on data that all share, with a storage of its own."""
    trained = {"backbone": "test_resnet", "method": "supervised", "patches": "tissue", "epochs": 1, "batch": 8}
    study = {
        "name": f"soak{number}",
        "storage": str(folder / "runs"),
        "data": str(data),
        "patches": {"tissue": {"slides": str(data / "slides/slides.csv"), "um": 64, "px": 32, "per_slide": 8}},
        "checkpoints": {"random": {"backbone": "test_resnet"}} | ({"trained": trained} if pretrain else {}),
        "tasks": ["demo-tissue"],
        "transfer": {"protocols": {"classification": ["finetune", "linear"]}, "fractions": [1.0], "repeats": 2,
                     "trials": 2, "steps": 4, "evaluations": 2, "batch": 8},
        "compare": {"baseline": "random"},
        "compute": {"trials_at_once": 1, "workers": 1, "threads": 2, "tile_workers": 1},
    }  # fmt: skip
    folder.mkdir()
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    return folder / "study.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--pretrain", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        for name in ("TMPDIR", "RAYSWEEP_HOME", "RAYSWEEP_TEST_DRAWN"):
            os.environ[name] = f"{scratch}/{name.lower()}"
            os.mkdir(os.environ[name])
        tempfile.tempdir = None
        os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(prefix="soak-", dir="/tmp")  # sockets want a short path
        _soak(asked, Path(scratch))


def _soak(asked: argparse.Namespace, scratch: Path) -> None:
    import shutil

    from raysweep.progress import Progress
    from raysweep.study.cluster import cluster
    from raysweep.study.load import load_study
    from raysweep.study.run import run_study
    from tests.drawn import copy_slides, copy_tissue

    data = scratch / "data"
    copy_tissue(data, patients=3)
    copy_slides(data / "slides", n=1)
    progress, until = Progress(quiet=True), time.monotonic() + 60 * asked.minutes
    first: dict[str, float] = {}
    with cluster(progress, cpus=2):
        for number in range(1, asked.studies + 1):
            began = time.monotonic()
            folder = scratch / "studies"
            outcome = run_study(load_study(_study(folder, data, number, asked.pretrain)), progress=progress)
            assert outcome.report is not None
            assert not outcome.failures, outcome.failures
            shutil.rmtree(folder)
            now = _figures()
            print(f"{number:3}  {time.monotonic() - began:5.1f} s  {now['driver MiB']:7.1f} MiB  "
                  f"{now['driver files']:4.0f} files  {now['threads']:3.0f} threads", flush=True)  # fmt: skip
            first = now if number <= _FIRST else first
            if time.monotonic() > until:
                break
    shutil.rmtree(os.environ["RAY_TMPDIR"], ignore_errors=True)
    print(f"| | after {min(_FIRST, number)} | after {number} | ratio |\n|---|---|---|---|")
    for name, value in now.items():
        before = first[name]
        print(f"| {name} | {before:.1f} | {value:.1f} | {value / before if before else 1:.3f} |")


if __name__ == "__main__":
    main()
