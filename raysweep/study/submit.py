"""A study as a job of a Ray cluster: what it needs is sent, its log is followed, and its report is fetched."""

import asyncio
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from raysweep.errors import RequestError, WorkError, reason_of
from raysweep.storage import Storage, is_address, shipped
from raysweep.study.graph import study_folder
from raysweep.study.load import StudyFile, load_study

_BESIDE = ("datasets", "search_spaces")  # folders of cards and spaces beside a study
_SENT = (".yaml", ".yml", ".csv", ".tsv", ".pickle", ".pkl")  # what of them is sent
_MOST_MB = 100  # Ray takes no more with a job
_FORWARD_SECONDS = 60.0  # for SSH to reach a cluster's head


def submit_study(
    ref: str,
    overrides: Sequence[str] = (),
    *,
    cluster: str | None = None,
    address: str | None = None,
    out: Path | None = None,
    say: Callable[[str], None] = print,
) -> int:
    """Run a study as a job of a cluster and follow it; returns the exit code of its `raysweep run`.

    Sent are the study's file, those that it extends, its slide tables and the cards and search spaces beside it. A
    job goes on when this process ends; submitted again, the study goes on where it was.

    Args:
        ref: a study file, or the name of a study that ships.
        overrides: of the study; `storage` and `data` as the cluster's nodes see them.
        cluster: the cluster's file, whose head `ray dashboard` reaches; None: `address` is reached as it is.
        address: of the head's dashboard, such as http://127.0.0.1:8265.
        out: a folder that the report is copied to; None: `<study>-report` here.
        say: called with each line that is shown.

    Raises RequestError when the study cannot be submitted, WorkError when the cluster does not answer.
    """
    file = load_study(ref, overrides)
    if not is_address(file.study.storage) and not Path(file.study.storage).is_absolute():
        raise RequestError(
            f"storage {file.study.storage}: a job has a folder of its own, which goes when it ends; name a bucket, or "
            "the path of a folder that all nodes share, as storage=s3://BUCKET/runs"
        )
    with tempfile.TemporaryDirectory(prefix="raysweep-") as folder, _reached(cluster, address, say) as url:
        name = pack_study(file, ref, Path(folder))
        command = shlex.join(["raysweep", "run", name, *overrides])
        return _followed(url, file, command, folder, out or Path(f"{file.study.name}-report"), say)


def pack_study(file: StudyFile, ref: str, folder: Path) -> str:
    """Copy what a study is made of into a folder, as it stands below its own; gives what `raysweep run` calls it there.

    Raises RequestError for what stands elsewhere, and for more than Ray takes with a job.
    """
    home = file.folder
    if home == shipped("studies"):
        return ref  # every node has it
    named = [home / spec.slides for spec in file.study.patches.values() if _is_table(spec.slides)]
    named += [path for path in file.files if path.parent != shipped("studies")]
    beside = [path for room in _BESIDE for path in sorted((home / room).rglob("*")) if path.suffix.lower() in _SENT]
    for path in (*named, *beside):
        inside = Path(path.resolve().as_posix()).relative_to(home.resolve()) if _below(path, home) else None
        if inside is None:
            raise RequestError(f"{path}: stands outside the study's folder {home}, which alone is sent; put it there")
        if path.is_file():
            (folder / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / inside)
    megabytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    if megabytes > _MOST_MB:
        raise RequestError(f"{home}: {megabytes:.0f} MB of tables and cards, and a job takes {_MOST_MB}; put the slide "
                           "table into the bucket, as slides: s3://BUCKET/slides.csv")  # fmt: skip
    return Path(file.files[0]).name


def _is_table(slides: str) -> bool:
    return not is_address(slides) and not Path(slides).is_absolute() and slides.lower().endswith((".csv", ".tsv"))


def _below(path: Path, home: Path) -> bool:
    return path.resolve().is_relative_to(home.resolve())


@contextmanager
def _reached(cluster: str | None, address: str | None, say: Callable[[str], None]) -> Iterator[str]:
    """The address of the dashboard, through SSH where a cluster's file is named."""
    if cluster is None:
        yield address or "http://127.0.0.1:8265"
        return
    if not Path(cluster).is_file():
        raise RequestError(f"--cluster {cluster}: no such file; name the cluster's file that `ray up` was given")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("ray")), "dashboard", cluster, "--port", str(port)]
    say(f"$ ray dashboard {shlex.quote(cluster)} --port {port}")
    forward = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        until = time.monotonic() + _FORWARD_SECONDS
        while not _answers(port):
            if forward.poll() is not None or time.monotonic() > until:
                forward.kill()
                said = (forward.communicate()[1] or b"").decode(errors="replace").split("\n")
                raise WorkError(f"{cluster}: its head was not reached: {' '.join(said[-4:]).strip()[:200]}")
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        forward.kill()
        forward.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _followed(url: str, file: StudyFile, command: str, folder: str, out: Path, say: Callable[[str], None]) -> int:
    from ray.job_submission import JobStatus, JobSubmissionClient

    job = f"{file.study.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    plain = f"ray job submit --address {url} --submission-id {job} --working-dir {file.folder} -- {command}"
    say(f"$ {plain}")
    try:
        client = JobSubmissionClient(url)
        client.submit_job(entrypoint=command, submission_id=job, runtime_env={"working_dir": folder})
    except (ConnectionError, RuntimeError, OSError) as error:
        raise WorkError(
            f"{url}: no Ray dashboard that takes jobs answers ({reason_of(error)[:150]}); name the cluster's file with "
            "--cluster, or leave `ray dashboard` running"
        ) from error
    try:
        asyncio.run(_tail(client, job, say))
    except KeyboardInterrupt:
        say(f"the job goes on; `ray job logs {job} --address {url} --follow` shows it, `ray job stop {job} --address "
            f"{url}` ends it")  # fmt: skip
        raise
    until = time.monotonic() + _FORWARD_SECONDS
    while not (info := client.get_job_info(job)).status.is_terminal() and time.monotonic() < until:
        time.sleep(0.5)
    code = info.driver_exit_code
    if code is None:
        code = 0 if info.status == JobStatus.SUCCEEDED else 1
    if info.status != JobStatus.SUCCEEDED and code not in (2, 3):
        say(f"job {job}: {info.status.value.lower()} ({info.message or 'nothing more is known'})")
    _fetch_report(file, out, say)
    return code


async def _tail(client: object, job: str, say: Callable[[str], None]) -> None:
    async for lines in client.tail_job_logs(job):  # type: ignore[attr-defined]
        for line in lines.splitlines():
            say(line)


def _fetch_report(file: StudyFile, out: Path, say: Callable[[str], None]) -> None:
    """Copy the report here, if there is one and this machine sees the storage."""
    report = study_folder(file.study).at("report")
    try:
        there = report.exists("index.html")
    except OSError as error:
        say(f"the report is in {report.root}, which this machine cannot read ({reason_of(error)})")
        return
    if there:
        say(f"report: {_copied(report, out) / 'index.html'}")
    elif not is_address(file.study.storage):
        say(f"{report.root} is not on this machine; `ray rsync-down CLUSTER.yaml {report.root} {out}` fetches it")


def _copied(report: Storage, out: Path) -> Path:
    import pyarrow.fs as pafs

    pafs.copy_files(report.root, out.absolute().as_posix(), source_filesystem=report.fs,
                    destination_filesystem=pafs.LocalFileSystem())  # fmt: skip
    return out
