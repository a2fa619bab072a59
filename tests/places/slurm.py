"""What a batch script of SLURM finds on its nodes, all of them this machine."""

from pathlib import Path

_SRUN = """#!/usr/bin/env python3
# What srun does, on one machine: its own options away, the command as often as there are tasks, signals passed on.
import signal, subprocess, sys
words, tasks = sys.argv[1:], 1
while words[0].startswith("--"):
    if words[0].startswith("--ntasks="):
        tasks = int(words[0].split("=")[1])
    words.pop(0)
children = [subprocess.Popen(words) for _ in range(tasks)]
signal.signal(signal.SIGTERM, lambda *_: [child.terminate() for child in children])
sys.exit(max(abs(child.wait()) for child in children))
"""
_SCONTROL = """#!/usr/bin/env bash
case "$1" in
    show) for i in 1 2; do echo node$i; done; echo "   JobState=${JOB_STATE:-RUNNING} Reason=None";;
    requeue) echo "$2" >> requeued;;
esac
"""


def write_slurm(folder: Path, **programs: str) -> None:
    """Write `srun`, `scontrol` and other programs into a folder that is to come first in PATH."""
    for name, text in {"srun": _SRUN, "scontrol": _SCONTROL, **programs}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
