"""Studies by the batch scripts of `raysweep cluster slurm`, on nodes that are raylets of this machine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from raysweep.places.files import slurm_script
from raysweep.storage import Storage
from raysweep.sweep.journal import Journal
from tests.places.slurm import write_slurm
from tests.study.mini import results, write_mini

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

_SMALL = {
    "tasks": ["demo-tissue"],
    "transfer": {"protocols": ["finetune", "linear"], "fractions": [0.5], "repeats": 3, "trials": 2, "steps": 4,
                 "evaluations": 2, "batch": 8},
}  # fmt: skip
_RAYSWEEP = f"""#!/bin/sh
exec {sys.executable} -m raysweep.cli "$@"
"""


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that one undisturbed run has finished."""
    folder = tmp_path_factory.mktemp("calm")
    done = subprocess.run([sys.executable, "-m", "raysweep.cli", "run", write_mini(folder, **_SMALL)],
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 3, done.stderr
    return folder


class _Job:
    """A batch script that runs, with its log."""

    def __init__(self, folder: Path, number: int, name: str) -> None:
        self.number, self.log, self.began = number, folder / f"{name}-{number}.log", time.monotonic()
        env = {"PATH": f"{folder}:{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(folder),
               "SLURM_JOB_ID": str(number), "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_CPUS_PER_TASK": "2",
               "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "RAYSWEEP_HOME": os.environ["RAYSWEEP_HOME"],
               "OMP_NUM_THREADS": "1"}  # fmt: skip
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(["bash", f"job-{name}"], cwd=folder, env=env, stdout=log, stderr=log)

    def until(self, ready: Callable[[], bool], seconds: float = 300) -> None:
        end = time.monotonic() + seconds
        while not ready():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)

    def end(self) -> str:
        """Wait for it; what it said."""
        self.process.wait(800)
        self.seconds = time.monotonic() - self.began
        return self.log.read_text()


def _prepared(folder: Path, name: str, **options: int) -> Path:
    """A study with a script for it, and SLURM's programs; gives the study's own folder of artefacts."""
    write_slurm(folder, raysweep=_RAYSWEEP)
    study = write_mini(folder, **_SMALL)
    (folder / f"job-{name}").write_text(slurm_script("mini", str(study), cpus=2, **options))
    return folder / "runs/mini"


def _told(home: Path) -> list[list[int]]:
    """The trials that every journal tells of, in the order in which they ended."""
    files = sorted(home.glob("cells/*/*/*/*/*/*/journal/*.jsonl"))
    journals = [Journal(Storage.open(file.parent), file.stem).read() for file in files]
    return [[e["trial"] for e in events if e["event"] == "told"] for events in journals]


def test_an_array_of_jobs_drains_one_study_and_makes_nothing_twice(calm: Path, tmp_path: Path) -> None:
    home = _prepared(tmp_path, "array", array=2)
    jobs = [_Job(tmp_path, os.getpid() + 10**7 + n, "array") for n in range(2)]
    said = [job.end() for job in jobs]
    assert [job.process.returncode for job in jobs] == [0, 0], said
    assert results(tmp_path) == results(calm)
    assert _told(home) == _told(calm / "runs/mini")  # each trial once
    assert "lost" not in "".join(path.read_text() for path in home.glob("cells/*/*/*/*/*/*/journal/*.jsonl"))
    reports = [text.count("report: ") for text in said]
    assert sum(reports) in (1, 2)  # two where both ended in the same moment
    if sum(reports) == 1:
        first = said[reports.index(0)]
        assert "nothing else is left here; still at work on the rest: process" in first
    begun = [sum(f"pretrain {name}" in text for text in said) for name in ("supervised",)]
    assert begun == [1]
    print(f"two jobs: {max(job.seconds for job in jobs):.0f} s")
    assert not list(Path("/tmp").glob(f"rs-*-{jobs[0].number}"))


def test_a_job_of_two_nodes_saves_queues_again_and_goes_on(calm: Path, tmp_path: Path) -> None:
    home = _prepared(tmp_path, "nodes", nodes=2)
    first = _Job(tmp_path, os.getpid() + 2 * 10**7, "nodes")
    first.until(lambda: sum(map(len, _told(home))) >= 3)
    began = time.monotonic()
    first.process.send_signal(signal.SIGTERM)  # five minutes before its time is over
    said = first.end()
    print(f"from SIGTERM to the end of the job with its Rays: {time.monotonic() - began:.1f} s")
    assert first.process.returncode == 143, said
    assert "2 nodes, 4 CPUs" in said
    assert "stopped; run the same command again to go on" in said
    assert (tmp_path / "requeued").read_text() == f"{first.number}\n"
    again = _Job(tmp_path, first.number, "nodes")
    said = again.end()
    assert again.process.returncode == 3, said
    assert "tile tissue" not in said
    assert results(tmp_path) == results(calm)
