"""Two machines inside this one, and a study on them through `ray up`: run by `test_ray_up.py` in namespaces of its own.

    unshare --pid --fork --mount-proc --mount --net --uts --kill-child python -m tests.places.two_machines FOLDER

`ray up` and `ray down` end every Ray process that they see, so this one looks first whether it is alone. Each machine
is a network and a space of process numbers with an SSH server in it, and has a folder of its own for Ray (two nodes
in one replace each other's folder of a job); a private home is mounted over the user's.
Prints one JSON object.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests

from tests.study.mini import results, write_mini

_HEAD, _WORKER = "10.77.0.1", "10.77.0.2"
_ROOT = Path(__file__).parents[2]
_SSHD = """
Port 22
ListenAddress {address}
HostKey {folder}/host_key
PidFile {folder}/{address}.pid
PermitRootLogin yes
StrictModes no
UsePAM no
AuthorizedKeysFile {folder}/key.pub
AcceptEnv LANG
"""
_UV = """#!/bin/sh
echo "$@" >> ~/installed
"""


def main(folder: Path) -> dict[str, Any]:
    others = [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) not in (1, os.getpid())]
    assert not others, f"this is no space of process numbers of its own: {others}"
    home = _own_home(folder)
    _machine(folder)
    small = {"protocols": ["linear"], "fractions": [0.5], "repeats": 2}
    primary = {"baseline": "random", "primary": {"protocol": "linear"}}
    study = write_mini(folder, tasks=["demo-tissue"], transfer=small, compare=primary)
    told: dict[str, Any] = {}
    local = _run("raysweep", "run", study, f"storage={folder}/alone")
    told["alone_seconds"], told["alone_code"] = local.seconds, local.code

    cluster = _run("raysweep", "cluster", "local", _HEAD, _WORKER, "--user", "root", "--key", folder / "key")
    (home / "my.yaml").write_text(cluster.out)
    up = _run("ray", "up", "my.yaml", "-y")
    told["up_seconds"], told["up_code"] = up.seconds, up.code
    told["installed"] = (home / "installed").read_text().splitlines()
    if up.code:
        return told | {"said": up.out}
    submit = ["raysweep", "submit", study, "--cluster", "my.yaml"]
    job = _run(*submit)
    told["job_seconds"], told["job_code"], told["said"] = job.seconds, job.code, job.out
    if job.code != 3:
        return told
    told["nodes"] = re.findall(r"Ray cluster \S+: (.*)", job.out)
    told["report"] = (home / "mini-report/index.html").is_file()
    told["same"] = results(folder) == _results_of(folder / "alone")
    told["dashboard"] = _dashboard(folder)
    again = _run(*submit)
    told["again_seconds"], told["again_code"] = again.seconds, again.code
    status = _run("ray", "exec", "my.yaml", "ray status")
    told["status"] = status.out
    down = _run("ray", "down", "my.yaml", "-y")
    told["down_code"] = down.code
    running = [line for line in _run("ps", "-eo", "args").out.splitlines() if "<defunct>" not in line]  # nobody reaps
    told["left"] = [line for line in running if "raylet" in line]
    return told


class _Done:
    def __init__(self, code: int, out: str, seconds: float) -> None:
        self.code, self.out, self.seconds = code, out, round(seconds, 1)


def _run(*words: object) -> _Done:
    """A command as the user gives it at home; standard error is kept apart, unless it fails."""
    began = time.monotonic()
    done = subprocess.run(list(map(str, words)), cwd=os.environ["HOME"], capture_output=True, text=True)
    noise = done.stderr if done.returncode or words[0] == "ray" else ""
    return _Done(done.returncode, done.stdout + noise, time.monotonic() - began)


def _results_of(storage: Path) -> list[dict]:
    (storage / "runs").symlink_to(storage)
    return results(storage)


def _own_home(folder: Path) -> Path:
    """Mounted over the user's, with what this Python needs of that one."""
    home, private = Path(os.environ["HOME"]), folder / "home"
    (private / ".local/bin").mkdir(parents=True)
    (private / ".ray").mkdir()
    (private / ".ray/auth_token").write_text("7a" * 32)
    (private / ".local/bin/uv").write_text(_UV)
    (private / ".local/bin/uv").chmod(0o755)
    (private / "env").symlink_to(sys.prefix)
    given = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    given |= {"RAY_TMPDIR": str(folder / "t"), "RAYSWEEP_HOME": str(folder / "kept"), "RAY_USAGE_STATS_ENABLED": "0"}
    (private / ".profile").write_text("".join(f"export {k}='{v}'\n" for k, v in given.items()) + ". ~/.bashrc\n")
    (private / ".bashrc").write_text("")
    base = Path(sys.base_prefix)
    if base.is_relative_to(home):
        there = private / base.relative_to(home)
        there.mkdir(parents=True)
        subprocess.run(["mount", "--bind", base, there], check=True)
    subprocess.run(["mount", "--rbind", private, home], check=True)
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        del os.environ[name]
    os.environ |= given | {"RAY_AUTH_MODE": "token", "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"}
    return home


def _machine(folder: Path) -> None:
    """This machine is the head; another one is the worker, at the end of a cable."""
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f"]
    for name in ("key", "host_key"):
        subprocess.run([*keygen, folder / name], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    Path("/run/sshd").mkdir()
    for address in (_HEAD, _WORKER):
        (folder / address).write_text(_SSHD.format(address=address, folder=folder))
    there = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--mount-proc", "--net", "--uts", "--kill-child", "sh", "-c",
         f"hostname worker; mkdir -p {folder}/t; mount -t tmpfs tmpfs {folder}/t; "
         f"until ip addr show there up 2> /dev/null | grep -q {_WORKER}; do sleep 0.1; done; "
         f"exec /usr/sbin/sshd -D -e -f {folder / _WORKER}"],
        stdout=subprocess.DEVNULL, stderr=(folder / "worker.log").open("w"),
    )  # fmt: skip
    time.sleep(0.5)
    subprocess.run(["hostname", "head"], check=True)
    into = f"nsenter --net --target {there.pid}"
    for command in (
        "ip link set lo up", "ip link add here type veth peer name there", f"ip link set there netns {there.pid}",
        f"ip addr add {_HEAD}/24 dev here", "ip link set here up", f"{into} ip link set lo up",
        f"{into} ip addr add {_WORKER}/24 dev there", f"{into} ip link set there up",
        f"ip route add default via {_WORKER}", f"{into} ip route add default via {_HEAD}",  # Ray finds its address so
    ):  # fmt: skip
        subprocess.run(command.split(), check=True)
    subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", folder / _HEAD], stdout=subprocess.DEVNULL,
                     stderr=(folder / "head.log").open("w"))  # fmt: skip


def _dashboard(folder: Path) -> list[int]:
    """What the dashboard answers without the token, and with it."""
    forward = subprocess.Popen(["ray", "dashboard", "my.yaml", "--port", "18265"], cwd=os.environ["HOME"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        codes = []
        for headers in ({}, {"Authorization": f"Bearer {'7a' * 32}"}):
            until = time.monotonic() + 60
            while True:
                try:
                    codes.append(requests.get("http://127.0.0.1:18265/api/version", headers=headers).status_code)
                    break
                except requests.ConnectionError:
                    assert time.monotonic() < until
                    time.sleep(0.5)
        return codes
    finally:
        forward.kill()


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
