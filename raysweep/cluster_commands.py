"""The commands for clusters: `raysweep submit`, and `cluster local`, `slurm`, `kubernetes`, `dockerfile`, `grafana`."""

from pathlib import Path
from typing import Annotated

import typer

from raysweep.addresses import is_address
from raysweep.errors import RequestError
from raysweep.secrets import has_secret

app = typer.Typer(
    no_args_is_help=True,
    help="Files for the places where Ray runs, to standard output: machines of your own, SLURM, Kubernetes, Grafana. "
    "AWS and Google Cloud have cluster.yaml.",
)


def _public(keys: list[str] | None) -> list[str] | None:
    """Overrides that become a job's metadata, or part of a file: anybody who sees those would have their secrets."""
    for item in keys or []:
        if has_secret(item):
            raise RequestError(
                f"{item.partition('=')[0]}: holds a password or a key, which everybody who sees the job would see; "
                "give it to the nodes as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or by their role"
            )
    return keys


_Keys = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="overrides, such as storage=/shared/runs", callback=_public),
]


@app.command("local")
def local(
    hosts: Annotated[list[str], typer.Argument(metavar="HEAD [HOST]...", help="names or addresses, the head first")],
    user: Annotated[str | None, typer.Option(help="whom SSH logs in as; default: you")] = None,
    key: Annotated[str | None, typer.Option(help="the private key's file; default: what SSH finds")] = None,
) -> None:
    """A cluster file for `ray up` on machines of your own, which SSH reaches: > my.yaml."""
    from raysweep.places.files import local_file

    _write(local_file(hosts, user=user, key=key))


@app.command("slurm")
def slurm(
    study: Annotated[str, typer.Argument(metavar="STUDY.yaml")],
    overrides: _Keys = None,
    nodes: Annotated[int, typer.Option(min=1, help="nodes that one job has")] = 1,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of each node")] = 0,
    cpus: Annotated[int, typer.Option(min=1, help="CPUs of each node")] = 8,
    hours: Annotated[int, typer.Option(min=1, help="how long a job may run before it is queued again")] = 24,
    array: Annotated[int, typer.Option(min=0, help="instead of nodes: so many jobs of one node, on one study")] = 0,
) -> None:
    """A batch script for SLURM: > job.sbatch. Five minutes before its time is over the job saves, and queues again."""
    from raysweep.places.files import slurm_script
    from raysweep.study.load import load_study

    name = load_study(study, overrides or []).study.name
    _write(slurm_script(name, study, overrides or [], nodes=nodes, gpus=gpus, cpus=cpus, hours=hours, array=array))


@app.command("kubernetes")
def kubernetes(
    study: Annotated[str, typer.Argument(metavar="STUDY.yaml")],
    image: Annotated[str, typer.Option(help="built by the file of `raysweep cluster dockerfile`")],
    overrides: _Keys = None,
    cpu_nodes: Annotated[int, typer.Option(min=1, help="at most so many pods that tile")] = 8,
    gpu_nodes: Annotated[int, typer.Option(min=0, help="at most so many pods that train")] = 4,
) -> None:
    """A RayJob with its cluster, and the study, for the KubeRay operator: > job.yaml."""
    import tempfile

    from raysweep.places.files import kubernetes_file
    from raysweep.study.load import load_study
    from raysweep.study.pack import pack_study

    file = load_study(study, overrides or [])
    storage = file.study.storage
    if not is_address(storage) or storage.lower().startswith("file:"):
        raise RequestError(
            f"storage {storage}: a pod's own folders go when it ends; name a bucket, as storage=s3://BUCKET/runs"
        )
    with tempfile.TemporaryDirectory(prefix="raysweep-") as folder:
        package = pack_study(file, study, overrides or [], Path(folder))
        sent = {
            p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()
        }
    _write(kubernetes_file(file.study.name, package.command, sent, image=image, cpu_nodes=cpu_nodes,
                           gpu_nodes=gpu_nodes))  # fmt: skip


@app.command("dockerfile")
def dockerfile() -> None:
    """The Dockerfile of an image with this raysweep and this Ray."""
    from raysweep.places.files import dockerfile as text

    _write(text())


@app.command("grafana")
def grafana() -> None:
    """A dashboard of every stage, for Ray's Grafana: > SESSION/metrics/grafana/dashboards/raysweep.json."""
    from raysweep.places.grafana import grafana_dashboard

    _write(grafana_dashboard())


def submit(
    study: Annotated[str, typer.Argument(metavar="STUDY.yaml", help="a study file, or the name of one that ships")],
    overrides: _Keys = None,
    cluster: Annotated[str | None, typer.Option(metavar="FILE", help="the file that `ray up` was given")] = None,
    address: Annotated[
        str | None, typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="else the dashboard, http://127.0.0.1:8265")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="where the report is copied to; default: STUDY-report")] = None,
) -> None:
    """Run a study as a job of a cluster, follow it and fetch the report. The exit code is that of its `raysweep run`.

    It sends the study's file, its slide tables, and the cards and search spaces beside it. Ctrl-C leaves the job alone;
    the same command again goes on with what is not done.
    """
    from raysweep.study.submit import submit_study

    code = submit_study(study, overrides or [], cluster=cluster, address=address, out=out)
    if code:
        raise typer.Exit(code)


def _write(text: str) -> None:
    print(text, end="")
