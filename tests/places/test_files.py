"""Files for the places where Ray runs: what reads them accepts them, and each says what this Ray needs."""

import base64
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from ray._private.ray_constants import DEFAULT_OBJECT_STORE_MEMORY_PROPORTION
from typer.testing import CliRunner

from raysweep.cli import app
from raysweep.errors import RequestError
from raysweep.places.files import dockerfile, kubernetes_file, local_file, slurm_script
from tests.places.slurm import write_slurm

_STUDY = """  # a first line with blanks
name: glands   # µm
question: "which: one?"

tasks: [demo-tissue]
"""


def _accepted(text: str) -> dict[str, Any]:
    """The cluster as Ray prepares it."""
    import ray.autoscaler
    from ray.autoscaler._private.util import prepare_config, validate_config

    cluster = yaml.safe_load(text)
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(cluster, schema)
    prepared = prepare_config(cluster)
    validate_config(prepared)
    return prepared


def test_machines_of_your_own(tmp_path: Path) -> None:
    key = tmp_path / "a key"
    key.touch()
    made = _accepted(local_file(["head", "no", "10.0.0.3"], user="ann", key=str(key)))
    assert made["provider"]["head_ip"] == "head"
    assert made["provider"]["worker_ips"] == ["no", "10.0.0.3"]
    assert made["auth"] == {"ssh_user": "ann", "ssh_private_key": str(key)}
    assert made["available_node_types"]["local.cluster.node"]["min_workers"] == 2
    assert all(Path(here).expanduser().exists() for there, here in made["file_mounts"].items() if "auth" not in there)
    head, worker = (made[f"{role}_start_ray_commands"][-1] for role in ("head", "worker"))
    assert "RAY_enable_autoscaler_v2=0 RAY_AUTH_MODE=token" in head  # else no worker is started
    assert "--dashboard-host=127.0.0.1" in head
    assert "--num-cpus=0 --num-gpus=0" in head
    assert "RAY_AUTH_MODE=token" in worker
    assert f'"ray[default]=={ray.__version__}"' in " ".join(made["setup_commands"])


def test_a_machine_alone_computes() -> None:
    made = _accepted(local_file(["localhost"]))
    assert made["provider"]["worker_ips"] == []
    assert "--num-cpus" not in made["head_start_ray_commands"][-1]


@pytest.mark.parametrize(
    ("hosts", "options", "sentence"),
    [
        ([], {}, "name every machine once"),
        (["a", "A"], {}, "name every machine once"),
        (["a b"], {}, "'a b' is no host name"),
        (["a\n"], {}, r"'a\\n' is no host name"),
        (["-a"], {}, "'-a' is no host name"),
        (["a", "$(x)"], {}, r"'\$\(x\)' is no host name"),
        (["ann@a"], {}, "; whom SSH logs in as is --user$"),
        (["a:22"], {}, "; a port belongs into ~/.ssh/config"),
        (["fe80::1"], {}, "Ray's launcher takes no IPv6"),
        (["localhost", "b"], {}, "localhost is another machine for each host"),
        (["a", "127.0.0.1"], {}, "localhost is another machine for each host"),
        (["a"], {"user": ""}, "--user '': is no user's name"),
        (["a"], {"user": "-oProxyCommand=x"}, "is no user's name"),
        (["a"], {"key": "gone"}, "--key gone: no such file"),
    ],
)
def test_what_is_no_host(hosts: list[str], options: dict[str, str], sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        local_file(hosts, **options)


@pytest.mark.parametrize(
    "options", [{}, {"nodes": 4, "gpus": 4}, {"gpus": 1, "array": 8}, {"nodes": 2, "cpus": 3, "hours": 1}]
)
def test_slurm_scripts_are_bash(options: dict[str, int], tmp_path: Path) -> None:
    script = tmp_path / "job"
    study = "a study's $(file).yaml"
    script.write_text(
        slurm_script("A study's $(file)", study, ["transfer.fractions=[0.1, 1]", "compute.cpus=2"], **options)
    )
    subprocess.run(["bash", "-n", script], check=True)
    text = script.read_text()
    head = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?$", text, re.MULTILINE))
    assert len(head) == text.count("#SBATCH")
    assert head["nodes"] == str(options.get("nodes", 1))
    assert head.get("gpus-per-node") == (str(options["gpus"]) if "gpus" in options else None)
    assert head.get("array") == ("0-7" if "array" in options else None)
    assert head["signal"] == "B:TERM@300"
    assert head["job-name"] == "a-study-s-file"
    command = next(line for line in text.splitlines() if line.startswith("raysweep run"))
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {command.removesuffix('&')}"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    gpus = (
        [f"compute.gpus={options['nodes'] * options['gpus']}"]
        if options.get("nodes", 0) * options.get("gpus", 0)
        else []
    )
    assert words == ["raysweep", "run", study, *gpus, "transfer.fractions=[0.1, 1]", "compute.cpus=2"]
    assert ("RAY_AUTH_MODE=token" in text) is ("array" not in options)


def test_an_array_is_of_single_nodes() -> None:
    with pytest.raises(RequestError, match="--array"):
        slurm_script("x", "x.yaml", nodes=2, array=3)


def test_kubernetes() -> None:
    image = "reg:80/ray-sweep@sha256:5e"
    text = kubernetes_file("Glands_2", "raysweep run a.yaml", {"a.yaml": _STUDY.encode()}, image=image, gpu_nodes=2)
    table, job = yaml.safe_load_all(text)
    assert textwrap.indent(_STUDY, "    ") in text  # as it is, for people
    assert job["metadata"]["name"] == "glands-2"
    assert job["spec"]["entrypoint"] == "sh /study/run.sh"
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == ray.__version__
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert [(g["minReplicas"], g["maxReplicas"]) for g in pods[1:]] == [(0, 8), (0, 2)]
    for pod in pods:
        spec = pod["template"]["spec"]
        container, volumes = spec["containers"][0], {v["name"]: v for v in spec["volumes"]}
        assert container["image"] == image
        assert {m["name"] for m in container["volumeMounts"]} == set(volumes)
        assert all(isinstance(value, str) for value in pod["rayStartParams"].values())
        memory, shared = (
            int(size.removesuffix("Gi"))
            for size in (container["resources"]["limits"]["memory"], volumes["shm"]["emptyDir"]["sizeLimit"])
        )
        assert shared > DEFAULT_OBJECT_STORE_MEMORY_PROPORTION * memory  # else Ray's objects are put on the disk
    assert "nvidia.com/gpu" in pods[2]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert all(int(p["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"]) < 16 for p in pods[1:])
    assert table["metadata"]["name"] == pods[0]["template"]["spec"]["volumes"][0]["configMap"]["name"]


_ODD = [
    b"a\tb\r\n",
    "µ \u2028 \x85 {{ name }} |2\n\n".encode(),
    b"  two\n one",
    b"",
    b"\xff\x00pickle",
    b"---\nx: 'y'\n...\n",
]


def test_what_a_pod_has_is_what_was_sent(tmp_path: Path) -> None:
    """The files as Kubernetes lays them out, and the command as its shell reads it."""
    words = ["a b", "data=$HOME/x", "q='\"%s\n", "transfer.fractions=[0.1,1.0]", "x={a:1,b:2}", "*"]
    files = {f"datasets/odd {number}.csv": data for number, data in enumerate(_ODD)}
    text = kubernetes_file("x", shlex.join(["raysweep", "run", *words]), files, image="x")
    table, job = yaml.safe_load_all(text)
    volume = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["volumes"][0]["configMap"]
    binary = {key: base64.b64decode(data) for key, data in table.get("binaryData", {}).items()}
    have = {key: data.encode() for key, data in table["data"].items()} | binary
    assert all(re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", key) for key in have)
    assert {i["path"]: have[i["key"]] for i in volume["items"] if i["path"] != "run.sh"} == files
    script = have[next(i["key"] for i in volume["items"] if i["path"] == "run.sh")].decode()
    (tmp_path / "raysweep").write_text("#!/bin/sh\nfor word; do printf '%s\\0' \"$word\"; done\nexit 3\n")
    (tmp_path / "raysweep").chmod(0o755)
    done = subprocess.run(["sh", "-c", script.replace("/study", str(tmp_path))], capture_output=True, text=True,
                          env={"PATH": f"{tmp_path}:/usr/bin:/bin"})  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert done.stdout.split("\0")[:-1] == ["run", *words]


def test_more_than_a_config_map_holds_is_refused() -> None:
    with pytest.raises(RequestError, match="a ConfigMap holds 1 MiB"):
        kubernetes_file("x", "x", {"a.csv": b"x" * 10**6, "b.csv": b"y" * 10**5}, image="x")


@pytest.mark.parametrize(
    ("name", "called"),
    [("Glands_2", "glands-2"), ("2023-kawai", "study-2023-kawai"), ("a" * 90, "a" * 40),
     ("ab" * 19 + "a..c", "ab" * 19 + "a"),
     ("=", "study"), ("x.", "x"), ("µ+m", "m")],
)  # fmt: skip
def test_names_of_jobs(name: str, called: str) -> None:
    """KubeRay takes a DNS-1035 label of at most 47 characters."""
    *_, job = yaml.safe_load_all(kubernetes_file(name, "x", {}, image="x"))
    assert job["metadata"]["name"] == called
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?", called)
    assert f"--job-name={called}\n" in slurm_script(name, "x.yaml")


def test_the_image_is_of_this_ray() -> None:
    assert f"FROM rayproject/ray:{ray.__version__}-py311-gpu" in dockerfile()
    root = Path(__file__).parents[2]
    assert all(
        (root / name).exists() for name in re.findall(r"^COPY --chown=ray (\S+) \S+$", dockerfile(), re.MULTILINE)
    )
    assert ray.__version__ in (root / "README.md").read_text()


def test_the_commands_write_to_standard_output(tmp_path: Path) -> None:
    study = tmp_path / "s.yaml"
    study.write_text(_STUDY + "checkpoints: {a: {backbone: resnet18}}\n")
    for arguments, begin in (
        (["local", "a", "b"], "# Ray on machines"),
        (["slurm", str(study), "--nodes", "2", "--gpus", "4"], "#!/usr/bin/env bash\n"),
        (["kubernetes", str(study), "--image", "x", "storage=s3://b/runs"], "# Ray on Kubernetes"),
        (["dockerfile"], "# From the root"),
    ):
        done = CliRunner().invoke(app, ["cluster", *arguments])
        assert done.exit_code == 0, done.output
        assert done.output.startswith(begin)
    for arguments, sentence in (
        (["slurm", "gone.yaml"], "gone.yaml: no such study file"),
        (["slurm", str(study), "compute.cpu=2"], "unknown key compute.cpu; did you mean cpus"),
        (["kubernetes", "gone.yaml", "--image", "x"], "gone.yaml: no such study file"),
        (["kubernetes", str(study), "--image", "x"], "storage runs: a pod's own folders go when it ends"),
        (["kubernetes", str(study), "--image", "x", "storage=/a"], "storage /a: a pod's own folders go"),
        (["kubernetes", str(study), "--image", "x", "storage=file:///a"], "a pod's own folders go when it ends"),
        (["kubernetes", str(study), "--image", "", "storage=s3://b"], "--image '': is no image's name"),
        (["kubernetes", str(study), "--image", "a {b", "storage=s3://b"], "--image 'a {b': is no image's name"),
        (["kubernetes", str(study), "--image", "x", "storage=s3://K:hush@b"], "storage: holds a password or a key"),
    ):
        refused = CliRunner().invoke(app, ["cluster", *arguments]).exception
        assert isinstance(refused, RequestError)
        assert sentence in str(refused)
        assert "hush" not in str(refused)


@pytest.mark.parametrize(
    ("study", "code", "ends"),
    [
        ("a b.yaml", 0, 0),
        ("it's $(touch pwned).yaml", 3, 0),
        ("new\nline #SBATCH --x.yaml", 1, 1),
        ("%A%j*;&.yaml", 2, 2),
    ],
)
def test_what_an_array_job_runs(study: str, code: int, ends: int, tmp_path: Path) -> None:
    words = ["q='\"$HOME %s\n#SBATCH --array=0-9\nEND\n", "x={a:1,b:[2, 3]}", "glob=*"]
    write_slurm(tmp_path, raysweep=f'#!/bin/sh\nfor word; do printf "%s\\0" "$word"; done > seen\nexit {code}\n')
    (tmp_path / "job").write_text(slurm_script("s", study, words, array=2, cpus=2))
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path), "SLURM_JOB_ID": "0", "SLURM_CPUS_PER_TASK": "2"}
    done = subprocess.run(["bash", "job"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == ends, done.stderr
    assert (tmp_path / "seen").read_text().split("\0")[:-1] == ["run", study, "compute.cpus=2", *words]
    assert not (tmp_path / "pwned").exists()
    assert not (tmp_path / "requeued").exists()


@pytest.mark.parametrize(("state", "queued"), [("RUNNING", True), ("CANCELLED", False), ("COMPLETING", False)])
def test_a_job_that_was_cancelled_does_not_queue_again(state: str, queued: bool, tmp_path: Path) -> None:
    write_slurm(tmp_path, raysweep='#!/bin/sh\ntrap "exit 143" TERM\ntouch seen\nwhile :; do sleep 0.05; done\n')
    (tmp_path / "job").write_text(slurm_script("s", "s.yaml", array=2))
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "0", "JOB_STATE": state}
    job = subprocess.Popen(["bash", "job"], cwd=tmp_path, env=env)
    while not (tmp_path / "seen").exists():
        time.sleep(0.02)
    job.terminate()
    assert job.wait(20) == 143
    assert (tmp_path / "requeued").exists() is queued


_RAYSWEEP = """#!{python}
import json, os, signal, sys, time
import ray
ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # Ray has taken it; raysweep sees to that, see stopping.py
nodes = [n for n in ray.nodes() if n["Alive"]]
open("seen", "w").write(json.dumps([len(nodes), ray.cluster_resources()["CPU"], sys.argv[1:]]))
time.sleep(60)
"""


@pytest.mark.slow
def test_the_slurm_script_starts_ray_and_saves_in_time(tmp_path: Path) -> None:
    write_slurm(tmp_path, raysweep=_RAYSWEEP.format(python=sys.executable))
    (tmp_path / "job").write_text(slurm_script("s", "s.yaml", nodes=2, cpus=1))
    number = str(os.getpid() + 10**7)
    path = f"{tmp_path}:{Path(sys.executable).parent}:/usr/bin:/bin"
    env = {"PATH": path, "HOME": str(tmp_path), "SLURM_JOB_ID": number, "SLURM_JOB_NODELIST": "node[1-2]",
           "SLURM_CPUS_PER_TASK": "1"}  # fmt: skip
    job = subprocess.Popen(["bash", "job"], cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while not (tmp_path / "seen").exists() and job.poll() is None:
        time.sleep(0.1)
    job.terminate()  # as SLURM does five minutes before the end
    said = job.communicate(timeout=120)[0].decode()
    assert job.returncode == 143, said
    assert json.loads((tmp_path / "seen").read_text()) == [2, 2.0, ["run", "s.yaml", "compute.cpus=2"]]
    assert (tmp_path / "requeued").read_text() == f"{number}\n"
    folder = Path(f"/tmp/rs-{os.getuid()}-{number}")
    assert str(folder) in said
    assert not folder.exists()
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(folder) not in processes
