"""Files for the places where Ray runs: machines of your own, SLURM, Kubernetes."""

import base64
import getpass
import importlib.metadata
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml

import raysweep
from raysweep.errors import RequestError

_PYTHON = "3.11"  # on nodes that get one of their own
_SENT = ("pyproject.toml", "README.md", "LICENSE", "raysweep", "datasets", "search_spaces")  # what an install needs
_CONFIG_MAP_BYTES = 2**20 - 2**14  # of 1 MiB, with its keys and names
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_NO_HOST = {"@": "whom SSH logs in as is --user", ":": "a port belongs into ~/.ssh/config, and Ray's launcher takes no "
            "IPv6"}  # fmt: skip
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*")


def local_file(hosts: Sequence[str], *, user: str | None = None, key: str | None = None) -> str:
    """A cluster file for `ray up` on machines reached by SSH; the first host is the head, and computes if alone.

    user: whom SSH logs in as; default: who runs this. key: a private key's file; default: what SSH finds itself.
    Raises RequestError for what is no host name, a host given twice, and a key that is not there.
    """
    for host in hosts:
        if not _HOST.fullmatch(host):
            advice = "".join(f"; {why}" for mark, why in _NO_HOST.items() if mark in host)
            raise RequestError(f"cluster local: {host!r} is no host name or IPv4 address{advice}")
    if not hosts or len({host.lower() for host in hosts}) < len(hosts):
        raise RequestError("cluster local: name every machine once, the head first, such as HEAD HOST HOST")
    if len(hosts) > 1 and any(host.lower() == "localhost" or host.startswith("127.") for host in hosts):
        raise RequestError("cluster local: localhost is another machine for each host; give the name or address by "
                           "which the others reach this one")  # fmt: skip
    if user is not None and not _USER.fullmatch(user):
        raise RequestError(f"--user {user!r}: is no user's name")
    if key is not None and not Path(key).expanduser().is_file():
        raise RequestError(f"--key {key}: no such file; name the private key, such as ~/.ssh/id_ed25519")
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
    name: str,
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

    name: the study's own, after which the job is called; study: its file, or its name if it ships.
    array: so many jobs of one node each instead, which share the study's work, each with a Ray of its own.
    Raises RequestError for sizes that do not go together.
    """
    if array and nodes > 1:
        raise RequestError("cluster slurm: --array is of jobs of one node each; leave --nodes out")
    asked = [f"compute.cpus={nodes * cpus}", *([f"compute.gpus={nodes * gpus}"] if gpus and not array else [])]
    given = {item.split("=")[0] for item in overrides}
    keys = [*(item for item in asked if item.split("=")[0] not in given), *overrides]
    return _render("slurm.sbatch", name=_named(name), study=shlex.quote(study), nodes=nodes, gpus=gpus, cpus=cpus,
                   hours=hours, array=array, overrides=[shlex.quote(item) for item in keys])  # fmt: skip


def kubernetes_file(
    name: str, command: str, files: Mapping[str, bytes], *, image: str, cpu_nodes: int = 8, gpu_nodes: int = 4
) -> str:
    """A RayJob with its cluster, which scales from zero, and its study as a ConfigMap; see `dockerfile`.

    name: the study's. command: of a shell, in the folder of `files`, which are named by their paths below it.
    cpu_nodes, gpu_nodes: at most so many of 16 CPUs, and of 16 CPUs and a GPU. Raises RequestError for files that
    are too large, and for what is no image.
    """
    if not _IMAGE.fullmatch(image):
        raise RequestError(f"--image {image!r}: is no image's name, such as registry.example.org/raysweep:1")
    named = _named(name)
    sent = {"run.sh": f"cd /study && exec {command}\n".encode(), **files}
    keys = {f"{number}-{re.sub(r'[^-._a-zA-Z0-9]+', '-', path)[-200:]}": path for number, path in enumerate(sent)}
    fits = sum(map(len, sent.values())) <= _CONFIG_MAP_BYTES
    text = {key: _Block(words) for key, path in keys.items() if fits and (words := _words(sent[path])) is not None}
    other = {key: base64.b64encode(sent[path]).decode() for key, path in keys.items() if key not in text}
    if not fits or sum(len(data.encode()) for data in (*text.values(), *other.values())) > _CONFIG_MAP_BYTES:
        raise RequestError(
            "cluster kubernetes: a ConfigMap holds 1 MiB, and the study's tables and cards are more; put the slide "
            "table into the bucket, as slides: s3://BUCKET/slides.csv"
        )
    study_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{named}-study"}, "data": text}
    study_map |= {"binaryData": other} if other else {}
    items = [{"key": key, "path": path} for key, path in keys.items()]
    groups = [("cpu", 0, cpu_nodes, 16, 48, 16, 0), ("gpu", 0, gpu_nodes, 16, 48, 16, 1)]
    return _render("kubernetes.yaml", name=named, image=_quoted(image), groups=groups,
                   study_map=yaml.dump(study_map, Dumper=_Dumper, sort_keys=False, allow_unicode=True),
                   items=json.dumps(items, ensure_ascii=False))  # fmt: skip


class _Block(str):
    """A text of lines."""


class _Dumper(yaml.SafeDumper):
    """Writes texts of lines as they are, where that is possible."""


def _written(dumper: yaml.SafeDumper, text: _Block) -> yaml.ScalarNode:
    plain = not re.search("[\x85\u2028\u2029\ufeff]", text)  # of which parsers of YAML 1.1 and 1.2 think differently
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|" if plain else '"')


_Dumper.add_representer(_Block, _written)


def _words(data: bytes) -> str | None:
    """The text of a file; None where it is none that YAML gives back as it was."""
    try:
        text = data.decode()
        return text if yaml.safe_load(yaml.safe_dump(text, allow_unicode=True)) == text else None
    except (UnicodeError, yaml.YAMLError):
        return None


def dockerfile() -> str:
    """The image of `kubernetes_file`: this raysweep on Ray's own image, of the Ray that is installed here."""
    return _render("Dockerfile")


def _named(study: str) -> str:
    """A job's name after its study's, as SLURM and Kubernetes take it: at most 40 of a-z, 0-9 and -, first a letter."""
    name = re.sub(r"[^a-z0-9]+", "-", study.lower()).strip("-")
    name = name if name[:1].isalpha() else f"study-{name}"
    return name[:40].strip("-")


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
