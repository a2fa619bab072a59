"""Files for the places where Ray runs: machines of your own, SLURM, Kubernetes."""

import getpass
import importlib.metadata
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

import raysweep
from raysweep.errors import RequestError

_PYTHON = "3.11"  # on nodes that get one of their own
_SENT = ("pyproject.toml", "README.md", "LICENSE", "raysweep", "datasets", "search_spaces")  # what an install needs
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._:-]*[A-Za-z0-9])?")


def local_file(hosts: Sequence[str], *, user: str | None = None, key: str | None = None) -> str:
    """A cluster file for `ray up` on machines reached by SSH; the first host is the head, and computes if alone.

    user: whom SSH logs in as; default: who runs this. key: a private key's file; default: what SSH finds itself.
    Raises RequestError for what is no host name, or a host given twice.
    """
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise RequestError(f"cluster local: {host!r} is no host name or address")
    if not hosts or len(set(hosts)) < len(hosts):
        raise RequestError("cluster local: name every machine once, the head first, such as HEAD HOST HOST")
    root = Path(raysweep.__file__).parents[1]
    if (root / "pyproject.toml").is_file():
        mounts = {f"~/raysweep/{name}": _quoted(str(root / name)) for name in _SENT}
        install = "-e ~/raysweep"
    else:
        mounts, install = {}, f'"raysweep=={raysweep.__version__}"'
    return _render("local.yaml", name="raysweep", head=_quoted(hosts[0]), workers=[_quoted(h) for h in hosts[1:]],
                   user=_quoted(user or getpass.getuser()), key=key and _quoted(key), mounts=mounts,
                   install=install)  # fmt: skip


def slurm_script(
    study: str,
    overrides: Sequence[str] = (),
    *,
    nodes: int = 1,
    gpus: int = 0,
    cpus: int = 8,
    hours: int = 24,
    array: int = 0,
) -> str:
    """A batch script that runs a study on `nodes` nodes with `gpus` GPUs and `cpus` CPUs each, for `hours` at a time.

    array: so many jobs of one node each instead, which share the study's work, each with a Ray of its own.
    Raises RequestError for sizes that do not go together.
    """
    if array and nodes > 1:
        raise RequestError("cluster slurm: --array is of jobs of one node each; leave --nodes out")
    asked = [f"compute.cpus={nodes * cpus}", *([f"compute.gpus={nodes * gpus}"] if gpus and not array else [])]
    given = {item.split("=")[0] for item in overrides}
    keys = [*(item for item in asked if item.split("=")[0] not in given), *overrides]
    return _render("slurm.sbatch", name=_named(study), study=shlex.quote(study), nodes=nodes, gpus=gpus, cpus=cpus,
                   hours=hours, array=array, overrides=[shlex.quote(item) for item in keys])  # fmt: skip


def kubernetes_file(
    study: Path, overrides: Sequence[str] = (), *, image: str, cpu_nodes: int = 8, gpu_nodes: int = 4
) -> str:
    """A RayJob with its cluster, which scales from zero, and the study file as a ConfigMap; see `dockerfile`.

    cpu_nodes, gpu_nodes: at most so many of 16 CPUs, and of 16 CPUs and a GPU. Raises RequestError where the study
    file cannot be read.
    """
    try:
        text = study.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise RequestError(f"{study}: cannot be read ({error})") from error
    if len(text.encode()) > 2**20 - 2**12:
        raise RequestError(f"{study}: a ConfigMap holds 1 MiB; put long tables into files of their own")
    entrypoint = " ".join(["raysweep run /study/study.yaml", *(shlex.quote(item) for item in overrides)])
    groups = [("cpu", 0, cpu_nodes, 16, 48, 0), ("gpu", 0, gpu_nodes, 16, 48, 1)]
    return _render("kubernetes.yaml", name=_named(study.name), study=text.rstrip("\n"), image=_quoted(image),
                   groups=groups, entrypoint=_quoted(entrypoint))  # fmt: skip


def dockerfile() -> str:
    """The image of `kubernetes_file`: this raysweep on Ray's own image, of the Ray that is installed here."""
    return _render("Dockerfile")


def _named(study: str) -> str:
    """A job's name after its study's, as SLURM and Kubernetes take it."""
    name = re.sub(r"[^a-z0-9]+", "-", Path(study).stem.lower()).strip("-")[:40].strip("-")
    return name if _NAME.fullmatch(name) else "study"


def _quoted(text: str) -> str:
    """As a YAML string: a host may be called `no`."""
    if not text.isprintable():
        raise RequestError(f"cluster: {text!r} holds characters that no file of a cluster can")
    return json.dumps(text, ensure_ascii=False)


def _render(template: str, /, **values: Any) -> str:
    folder = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(loader=folder, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return environment.get_template(f"{template}.j2").render(
        ray=importlib.metadata.version("ray"), python=_PYTHON, **values
    )
