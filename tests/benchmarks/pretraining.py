"""What pretraining costs beside the arithmetic of its steps, against the common way of doing each part.

    RAYSWEEP_TEST_DATA=DIR python -m tests.benchmarks.pretraining CASE [--pairs N] [--short]

Each figure is the median of pairs in fresh processes, the two sides in turn, with an interval of at least 95 % by
order statistics. Patches are 224 px JPEG crops of the GlaS images, in shards. `--short` makes every run as small as it
can be, to see that a case works; its figures mean nothing. `lightly_train` needs
`--lightly-train PYTHON`, of an environment of its own that has it (extra `bench`).

| case | what | against |
|---|---|---|
| loader | decoded patches, two threads | torch's DataLoader of two workers on the same shards |
| step | a step under Ray Train, two workers and one (resnet18, 32 images each) | the same loop without Ray |
| state | 100 steps with a state (resnet18, 96 px, batch 32, two threads) | 100 steps without |
| lightly_train | SimCLR, regnetx_002, 128 px, batch 64, two threads | lightly-train |
| start | `raysweep pretrain`: to the first step, and from the last one to the end | a TorchTrainer with an empty loop |
| resume | a run that was killed in the middle and run again | one that was not disturbed |
| ray_data | SimCLR's crops made by Ray Data | made by threads of the worker |
| gpu | SimCLR, resnet50, 224 px, bfloat16, from shards | random views on the GPU; lightly's documented loop |

Last figures:

Two cores; the loader's pairs had other work beside them, the rest had none. A step of two workers uses both cores, and
Ray's own processes (controller, cleaner, agents: together 9 % of a core, 0.8 % each while idle) take their part of
them: with those but raylet, GCS and controller stopped for single epochs a step took 0.953 times as long. A pair's own
noise is about a tenth here.

| case | figure | target |
|---|---|---|
| loader, patches/s | 1.054 times the DataLoader's (0.701 to 1.500, 5 pairs; 1.107 on a quieter day) | >= 0.95 |
| loader, first batch | 0.409 times its seconds (0.307 to 0.529, 5 pairs) | sooner |
| loader, peak memory | 0.652 times its (1 pair; 170 MiB and 260) | <= 0.5: missed |
| step, under Ray, two workers | 1.107 times the seconds without (0.931 to 1.182, 7 pairs) | <= 1.05: missed |
| step, under Ray, one worker | 1.051 times (0.898 to 1.242, 3 pairs) | <= 1.05: missed by less than the noise |
| lightly_train | 1.674 times its images/s (1 pair; 86 and 52) | >= 1.5 |
| state | 1.003 times the seconds without (1 pair) | <= 1.02 |
| start, to the first step | 1.507 times the empty loop's seconds (1.475 to 1.538, 2 pairs) | <= 1.2: missed |
| start, from the last step to the exit | 2.8 s (2 pairs) | <= 4 s |
| threads against Ray Data | 1.373 times its patches/s (1.236 to 1.382, 3 pairs) | >= 1 |
| resume | no step repeated beyond the state, equal weights | so |
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.benchmarks import pretraining_peers as peers
from tests.benchmarks import pretraining_sides as sides
from tests.benchmarks.pairs import Given, environment, in_turn, run_cases, run_command, run_side, tell

_SIDES = {
    name: getattr(module, name)
    for module, names in (
        (sides, ("loader_ours", "loop", "step_ray", "step_plain", "data_threads", "data_ray", "gpu_fixed")),
        (peers, ("loader_peer", "gpu_plain")),
    )
    for name in names
}


class _Given(Given):
    lightly_train: str | None

    def patches(self, rows: int) -> str:
        return sides.write_patches(self.home, rows)


def _median(made: list, side: int, key: str) -> float:
    return statistics.median(pair[side][key] for pair in made)


def _loader(given: _Given) -> None:
    patches, steps = given.patches(512 if given.short else 6144), 12 if given.short else 600
    both = [partial(run_side, name, patches=patches, steps=steps) for name in ("loader_ours", "loader_peer")]
    made = in_turn(given.pairs, *both)
    print(f"loader: {_median(made, 0, 'rate'):.0f} patches/s, DataLoader {_median(made, 1, 'rate'):.0f}; first batch "
          f"after {_median(made, 0, 'first'):.2f} s and {_median(made, 1, 'first'):.2f} s")  # fmt: skip
    tell("patches/s, times the DataLoader's", [ours["rate"] / peer["rate"] for ours, peer in made], 0.95)
    tell("first batch, times its seconds", [ours["first"] / peer["first"] for ours, peer in made], 1, most=True)
    seen = in_turn(min(given.pairs, 3), *(partial(side, watch=True) for side in both))  # looking costs time as well
    print(f"  peak memory: {_median(seen, 0, 'mib'):.0f} MiB, DataLoader {_median(seen, 1, 'mib'):.0f} MiB")
    tell("memory, times the DataLoader's", [ours["mib"] / peer["mib"] for ours, peer in seen], 0.5, most=True)


def _step(given: _Given) -> None:
    # with both cores in use Ray's own processes take their part from the training; with one they have the other
    _steps(given, workers=2, patches=512, px=128, target=1.05)
    _steps(given, workers=1, patches=256, px=96, target=1.05)


def _steps(given: _Given, *, workers: int, patches: int, px: int, target: float) -> None:
    batch = 32 * workers
    keys = {"patches": given.patches(patches), "backbone": "resnet18", "method": "supervised", "batch": batch, "px": px,
            "epochs": 5, "workers": workers}  # fmt: skip
    if given.short:
        keys |= {"px": 32, "epochs": 2}
    made = in_turn(given.pairs, *(partial(run_side, name, **keys) for name in ("step_ray", "step_plain")))
    each = [[statistics.median(side["seconds"]) * batch / patches for side in pair] for pair in made]
    under, without = (statistics.median(e[side] for e in each) for side in range(2))
    print(f"step of {workers} workers: {under:.3f} s under Ray, {without:.3f} s without; waiting for data "
          f"{_median(made, 0, 'waiting'):.1%} and {_median(made, 1, 'waiting'):.1%}")  # fmt: skip
    tell("seconds, times those without Ray", [ray / plain for ray, plain in each], target, most=True)


def _state(given: _Given) -> None:
    steps, batch = (10, 32) if given.short else (100, 32)  # an epoch is so many steps, and every second one has a state
    keys = {"patches": given.patches(steps * batch), "backbone": "resnet18", "method": "supervised", "batch": batch,
            "px": 32 if given.short else 96, "epochs": 2 * given.pairs + 1}  # fmt: skip
    seconds = run_side("loop", omp=2, save=2 * steps, **keys | {"threads": 2})["seconds"]
    without, saved = seconds[0::2], seconds[1::2]
    print(f"state: {steps} steps {statistics.median(saved):.2f} s with a state, {statistics.median(without):.2f} s")
    tell("seconds, times those without", [s / w for s, w in zip(saved, without, strict=True)], 1.02, most=True)


def _lightly_train(given: _Given) -> None:
    if not given.lightly_train:
        raise SystemExit("--lightly-train: the python of an environment with lightly-train is needed for this case")
    patches, images = given.patches(512 if given.short else 1024), given.home / "images"
    images.mkdir()
    peers.write_files(patches, images)
    epochs = 2 if given.short else 3
    keys = {"patches": patches, "backbone": "regnetx_002", "method": "simclr", "batch": 64, "px": 128, "epochs": epochs}
    script = str(Path(__file__).with_name("lightly_train_side.py"))
    peer = [given.lightly_train, script, str(images), json.dumps({"batch": 64, "px": 128, "epochs": epochs})]
    ours = partial(_two_threads, keys)
    made = in_turn(given.pairs, ours, partial(run_command, peer, omp=2))
    print(f"lightly_train: {_median(made, 0, 'rate'):.0f} images/s, lightly-train {_median(made, 1, 'rate'):.0f}")
    tell("images/s, times lightly-train's", [ours["rate"] / peer["rate"] for ours, peer in made], 1.5)


def _two_threads(keys: dict[str, Any]) -> dict[str, Any]:
    return run_side("loop", omp=2, **keys | {"threads": 2})


def _start(given: _Given) -> None:
    patches = given.patches(16)
    script = given.home / "empty.py"
    script.write_text(peers.EMPTY)
    made = in_turn(given.pairs, partial(_start_ours, given.home, patches), partial(_start_empty, script))
    print(f"start: first step after {_median(made, 0, 'start'):.2f} s, empty loop {_median(made, 1, 'start'):.2f} s; "
          f"end {_median(made, 0, 'end'):.2f} s and {_median(made, 1, 'end'):.2f} s after the last")  # fmt: skip
    tell(
        "seconds to the first step, times the empty loop's", [o["start"] / e["start"] for o, e in made], 1.2, most=True
    )
    tell("seconds from the last step to the exit", [ours["end"] for ours, _ in made], 4, most=True, unit=" s")


def _study(folder: Path, patches: str, **keys: Any) -> tuple[list[str], Path]:
    """The command that pretrains a tiny checkpoint, each epoch one step; and where its artefacts will be."""
    spec = {"backbone": "test_resnet", "method": "supervised", "patches": f"{patches}/", "batch": 16, "px": 32, **keys}
    study = {"name": "tiny", "storage": str(folder), "checkpoints": {"tiny": spec}, "compute": {"save_steps": 20}}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(study))
    command = [sys.executable, "-m", "raysweep.cli", "pretrain", str(folder / "tiny.yaml")]
    return command, folder / "tiny" / "checkpoints" / "tiny"


def _start_ours(home: Path, patches: str) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(dir=home))
    command, made = _study(folder, patches, epochs=10)
    began, first, ended = _timed(command, lambda: any(made.glob("*/metrics.jsonl")), folder)
    (metrics,) = made.glob("*/metrics.jsonl")
    assert len(metrics.read_text().splitlines()) == 10
    return {"start": first - began, "end": ended - metrics.stat().st_mtime}


def _start_empty(script: Path) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(dir=script.parent))
    began, _, ended = _timed([sys.executable, str(script), str(folder)], lambda: True, folder)
    times = [float((folder / f"rank{rank}").read_text()) for rank in range(2)]
    return {"start": min(times) - began, "end": ended - max(times)}


def _timed(command: list[str], seen: Callable[[], bool], folder: Path) -> tuple[float, float, float]:
    """When a command began, when something was first seen, and when the command ended."""
    with open(folder / "log", "w") as log:
        began, first = time.time(), None
        process = subprocess.Popen(command, env=environment(1), stdout=log, stderr=log)
        while process.poll() is None:
            if first is None and seen():
                first = time.time()
            time.sleep(0.005)
        ended = time.time()
    if process.returncode or first is None:
        raise SystemExit((folder / "log").read_text()[-3000:])
    return began, first, ended


def _resume(given: _Given) -> None:
    """Steps are counted in the event files: every start of the loop writes one of its own."""
    patches, steps = given.patches(16), 60 if given.short else 600
    for _ in range(given.pairs):
        calm, rough = (Path(tempfile.mkdtemp(dir=given.home)) for _ in range(2))
        command, made = _study(calm, patches, epochs=steps)
        began, _, ended = _timed(command, lambda: True, calm)
        (weights,) = made.glob("*/backbone.safetensors")
        command, made = _study(rough, patches, epochs=steps)
        _kill_at(command, made, steps // 2, rough)
        kept = max(int(path.stem.split("-")[1]) for path in made.glob("*/resume/states/step-*.pt"))
        again, _, over = _timed(command, lambda: True, rough)
        (found,) = made.glob("*/backbone.safetensors")
        first, second = _logged(made)
        equal = "equal" if found.read_bytes() == weights.read_bytes() else "DIFFER"
        right = first[0] == 1 and second == list(range(kept + 1, steps + 1))
        print(f"resume: killed after step {first[-1]} of {steps}, state of step {kept}; run again from step "
              f"{second[0]} to {second[-1]}: {first[-1] - kept} steps repeated ({'met' if right else 'MISSED'}); "
              f"weights {equal}; {ended - began:.1f} s undisturbed, {over - again:.1f} s for the rest")  # fmt: skip


def _kill_at(command: list[str], made: Path, step: int, folder: Path) -> None:
    """Kill a run without a warning when a step is done, and wait until all its processes are gone."""
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, env=environment(1), stdout=log, stderr=log)
        while process.poll() is None:
            if any(len(path.read_bytes().splitlines()) >= step for path in made.glob("*/metrics.jsonl")):
                family = psutil.Process(process.pid).children(recursive=True)
                family = [p for p in family if "Agent" not in p.name()]  # Ray's own go minutes later, and write nothing
                process.send_signal(signal.SIGKILL)
                process.wait()
                left = psutil.wait_procs(family, timeout=60)[1]
                if left:
                    raise SystemExit(f"of the killed run there are left after a minute: {[p.name() for p in left]}")
                return
            time.sleep(0.005)
    raise SystemExit("it ended before it could be killed:\n" + (folder / "log").read_text()[-3000:])


def _logged(made: Path) -> list[list[int]]:
    """Of every start of the loop, in order, the epochs that it wrote to its events."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    files = sorted(made.glob("*/tensorboard/events*"), key=lambda path: path.name)
    return [sorted({e.step for e in EventFileLoader(str(f)).Load() if e.summary.value}) for f in files]


def _ray_data(given: _Given) -> None:
    patches, steps = given.patches(512 if given.short else 6144), 24 if given.short else 192
    made = in_turn(given.pairs, *(partial(run_side, name, patches=patches, steps=steps)
                                  for name in ("data_threads", "data_ray")))  # fmt: skip
    print(f"ray_data: two threads {_median(made, 0, 'rate'):.0f} patches/s, Ray Data {_median(made, 1, 'rate'):.0f}; "
          f"first batch after {_median(made, 0, 'first'):.2f} s and {_median(made, 1, 'first'):.2f} s")  # fmt: skip
    tell("patches/s of threads, times Ray Data's", [threads["rate"] / data["rate"] for threads, data in made], 1)


def _gpu(given: _Given) -> None:
    import torch

    if not torch.cuda.is_available():
        return print("gpu: no GPU is there")
    cores = len(os.sched_getaffinity(0))
    patches, batch = given.patches(1024 if given.short else 8192), 256
    keys = {"backbone": "resnet50", "px": 224, "batch": batch}
    epochs = 3 if given.short else 5
    steps = epochs * (1024 if given.short else 8192) // batch
    made = in_turn(
        given.pairs,
        partial(_gpu_ours, {"patches": patches, "method": "simclr", "epochs": epochs, **keys}, cores),
        partial(run_side, "gpu_fixed", omp=cores, method="simclr", steps=steps, **keys),
        partial(run_side, "gpu_plain", patches=patches, steps=30 if given.short else 60, **keys),
    )
    shards, fixed, plain = (_median(made, side, "rate") for side in range(3))
    print(f"gpu: {shards:.0f} images/s from shards, {fixed:.0f} on random views, lightly's loop {plain:.0f}; waiting "
          f"for data {_median(made, 0, 'waiting'):.1%}")  # fmt: skip
    tell("time of a step, times that on random views", [m[1]["rate"] / m[0]["rate"] for m in made], 1.05, most=True)
    tell("images/s, times lightly's loop", [ours["rate"] / plain["rate"] for ours, _, plain in made], 2)


def _gpu_ours(keys: dict[str, Any], cores: int) -> dict[str, Any]:
    return run_side("loop", omp=cores, **keys | {"threads": cores, "device": "cuda"})


_CASES: dict[str, tuple[Callable[[_Given], None], int]] = {
    "loader": (_loader, 7), "step": (_step, 7), "state": (_state, 7), "lightly_train": (_lightly_train, 7),
    "start": (_start, 7), "resume": (_resume, 3), "ray_data": (_ray_data, 7), "gpu": (_gpu, 3),
}  # fmt: skip

if __name__ == "__main__":
    run_cases(__doc__, _Given(), _CASES, _SIDES, {"--lightly-train": "PYTHON"})
