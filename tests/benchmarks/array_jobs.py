"""Five runs of one study at once, as the jobs of an array, beside one run alone.

    python -m tests.benchmarks.array_jobs [--repeats 60] [--runs 5] [--seconds 20]

Every run has a Ray of its own and one device. Trainings are those of a tiny network, and then each trial and each
final sleeps, as one that a GPU does: so runs hardly take each other's CPUs once they have started. The time of one run
alone is that of one with few repeats, and for each further repeat what one of those took in its search. The target is
that five are at least four times as fast as one.

Last figures (two cores that the demo used as well): one run 42.8 s a repeat, 2,587 s for 60; five 626 s: 4.13 times.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from tests.study.mini import write_mini

_FEW = 4  # repeats of the run alone
_APART_SECONDS = 15.0  # of the starts of runs: five Rays that start at once on two cores take more than half a minute
_HOOK = """
import importlib.abc, importlib.util, os, sys, time

class _Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "raysweep.sweep.trial":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module
        def exec_module(module):
            load(module)
            step = module.TransferTrial.step
            def slow(trial):
                said = step(trial)
                time.sleep(float(os.environ["SLEEP_SECONDS"]))
                return said
            module.TransferTrial.step = slow
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, _Slow())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="array-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        os.environ["RAYSWEEP_TEST_DRAWN"] = f"{folder}/drawn"
        for name in ("drawn", "hook"):
            Path(folder, name).mkdir()
        Path(folder, "hook/sitecustomize.py").write_text(_HOOK)
        alone, search = _run(Path(folder), 1, _FEW, asked.seconds)
        whole = alone + (asked.repeats - _FEW) * search / _FEW
        print(f"one run: {alone:.0f} s for {_FEW} repeats, {search / _FEW:.1f} s each; {asked.repeats}: {whole:.0f} s")
        together, _ = _run(Path(folder), asked.runs, asked.repeats, asked.seconds)
        print(f"{asked.runs} runs: {together:.0f} s for {asked.repeats} repeats; {whole / together:.2f} times as fast")


def _run(folder: Path, runs: int, repeats: int, seconds: float) -> tuple[float, float]:
    """Seconds until the last of the runs has ended, and those of the search of the first."""
    home = Path(tempfile.mkdtemp(dir=folder))
    study = write_mini(
        home, tasks=["demo-tissue"], patches={}, checkpoints={"random": {"backbone": "test_resnet"}},
        transfer={"protocols": ["finetune"], "fractions": [1.0], "repeats": repeats, "trials": 1, "steps": 1,
                  "evaluations": 1, "batch": 4, "search": "each"},
        compute={"trials_at_once": 1, "threads": 1, "cpus": 1},
    )  # fmt: skip
    env = os.environ | {"SLEEP_SECONDS": str(seconds), "RAYSWEEP_HOME": str(home / "home")}
    env["PYTHONPATH"] = os.pathsep.join([str(folder / "hook"), *filter(None, [env.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "raysweep.cli", "--log", "json", "run", str(study)]
    began = time.monotonic()
    logs = [home / f"log-{number}" for number in range(runs)]
    started = []
    for log in logs:
        started.append(subprocess.Popen(["sh", "-c", 'exec "$@" > "$0" 2>&1', str(log), *command], env=env))
        time.sleep(_APART_SECONDS * (runs > 1))
    codes = [run.wait() for run in started]
    took = time.monotonic() - began
    said = [log.read_text() for log in logs]
    assert set(codes) <= {0, 3}, [text[-500:] for text in said]  # 3: it ended while another was at work
    assert 0 in codes, codes
    events = [json.loads(line) for line in said[0].splitlines() if line.startswith("{")]
    of_search = [event for event in events if event["stage"] == "search"]
    times = [datetime.fromisoformat(of_search[i]["time"]).timestamp() for i in (0, -1)]
    return took, times[1] - times[0]


if __name__ == "__main__":
    main()
