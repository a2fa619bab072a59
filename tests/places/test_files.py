"""Files for the places where Ray runs: what reads them accepts them, and each says what this Ray needs."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
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


def test_machines_of_your_own() -> None:
    made = _accepted(local_file(["head", "no", "10.0.0.3", "fe80::1"], user="ann", key="~/.ssh/a key"))
    assert made["provider"]["head_ip"] == "head"
    assert made["provider"]["worker_ips"] == ["no", "10.0.0.3", "fe80::1"]
    assert made["auth"] == {"ssh_user": "ann", "ssh_private_key": "~/.ssh/a key"}
    assert made["available_node_types"]["local.cluster.node"]["min_workers"] == 3
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


@pytest.mark.parametrize("hosts", [[], ["a", "a"], ["a b"], ["a\n"], ["-a"], ["a", "$(x)"]])
def test_what_is_no_host(hosts: list[str]) -> None:
    with pytest.raises(RequestError, match="cluster local"):
        local_file(hosts)


@pytest.mark.parametrize(
    "options", [{}, {"nodes": 4, "gpus": 4}, {"gpus": 1, "array": 8}, {"nodes": 2, "cpus": 3, "hours": 1}]
)
def test_slurm_scripts_are_bash(options: dict[str, int], tmp_path: Path) -> None:
    script = tmp_path / "job"
    study = "a study's $(file).yaml"
    script.write_text(slurm_script(study, ["transfer.fractions=[0.1, 1]", "compute.cpus=2"], **options))
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
        slurm_script("x.yaml", nodes=2, array=3)


def test_kubernetes(tmp_path: Path) -> None:
    study = tmp_path / "Glands_2.yaml"
    study.write_text(_STUDY)
    text = kubernetes_file(study, ["storage=s3://b/runs", "question=a: b # c"], image="reg/ray sweep:1", gpu_nodes=2)
    table, job = yaml.safe_load_all(text)
    assert table["data"]["study.yaml"] == _STUDY
    assert job["spec"]["entrypoint"] == "raysweep run /study/study.yaml storage=s3://b/runs 'question=a: b # c'"
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == ray.__version__
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert [(g["minReplicas"], g["maxReplicas"]) for g in pods[1:]] == [(0, 8), (0, 2)]
    for pod in pods:
        spec = pod["template"]["spec"]
        assert spec["containers"][0]["image"] == "reg/ray sweep:1"
        assert {m["name"] for m in spec["containers"][0]["volumeMounts"]} == {v["name"] for v in spec["volumes"]}
        assert all(isinstance(value, str) for value in pod["rayStartParams"].values())
    assert "nvidia.com/gpu" in pods[2]["template"]["spec"]["containers"][0]["resources"]["limits"]


def test_a_study_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"gone\.yaml: cannot be read"):
        kubernetes_file(tmp_path / "gone.yaml", image="x")


def test_the_image_is_of_this_ray() -> None:
    assert f"FROM rayproject/ray:{ray.__version__}-py311-gpu" in dockerfile()
    root = Path(__file__).parents[2]
    assert all(
        (root / name).exists() for name in re.findall(r"^COPY --chown=ray (\S+) \S+$", dockerfile(), re.MULTILINE)
    )
    assert ray.__version__ in (root / "README.md").read_text()


def test_the_commands_write_to_standard_output(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(_STUDY)
    for arguments, begin in (
        (["local", "a", "b"], "# Ray on machines"),
        (["slurm", "s.yaml", "--nodes", "2", "--gpus", "4"], "#!/usr/bin/env bash\n"),
        (["kubernetes", str(tmp_path / "s.yaml"), "--image", "x"], "# Ray on Kubernetes"),
        (["dockerfile"], "# From the root"),
    ):
        done = CliRunner().invoke(app, ["cluster", *arguments])
        assert done.exit_code == 0, done.output
        assert done.output.startswith(begin)


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
    (tmp_path / "job").write_text(slurm_script("s.yaml", nodes=2, cpus=1))
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
