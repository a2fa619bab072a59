"""A study as a job of a Ray cluster: what it needs is sent, its log is followed, and its report is fetched."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml

from raysweep.addresses import is_address
from raysweep.errors import RequestError, WorkError, reason_of
from raysweep.local_path import local_path
from raysweep.secrets import without_secrets
from raysweep.storage import Storage
from raysweep.study.job import Job
from raysweep.study.load import StudyFile, load_study
from raysweep.study.pack import pack_study

_FORWARD_SECONDS = 60.0  # for SSH to reach a cluster's head
_RAY = str(Path(sys.executable).with_name("ray"))


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

    A job goes on when this process ends. While it does, the same call follows it; later, it goes on with the study
    where that was, as a new job.

    Args:
        ref: a study file, or the name of a study that ships; what is sent with it says `pack_study`.
        overrides: of the study; `storage` and `data` as the cluster's nodes see them.
        cluster: the cluster's file, whose head `ray dashboard` reaches; None: `address` is reached as it is.
        address: of the head's dashboard, such as http://127.0.0.1:8265.
        out: a folder that the report is copied to; None: `<study>-report` here.
        say: called with each line that is shown.

    Raises RequestError when the study cannot be submitted, WorkError when the cluster does not answer.
    """
    file = load_study(ref, overrides)
    out = Path(f"{file.study.name}-report") if out is None else local_path(out, "--out")
    if out.exists() and not out.is_dir():
        raise RequestError(f"--out {out}: is a file; name a folder for the report")
    with tempfile.TemporaryDirectory(prefix="raysweep-") as folder:
        package = pack_study(file, ref, overrides, Path(folder))
        with _reached(cluster, address, say) as url:
            where = f"{file.study.storage.rstrip('/')}/{file.study.name}"
            shown = without_secrets(url)
            say(
                f"$ ray job submit --address {shown} --working-dir {shlex.quote(str(file.folder))} -- {package.command}"
            )
            job = Job.begin(url, file.study.name, where, package, folder, say)
            try:
                code = job.follow(say)
            except KeyboardInterrupt:
                reach = f"--address {shown}" if cluster is None else f"(while `ray dashboard {cluster}` runs)"
                say(f"job {job.id} goes on, and the same command follows it again; `ray job stop {job.id}` {reach} "
                    "ends it")  # fmt: skip
                raise
        if code in (0, 3):
            _fetch_report(file, out, cluster, say)
    return code


@contextmanager
def _reached(cluster: str | None, address: str | None, say: Callable[[str], None]) -> Iterator[str]:
    """The address of the dashboard, through SSH where a cluster's file is named."""
    if cluster is None:
        address = address or "http://127.0.0.1:8265"
        if not re.match(r"https?://[^/?#]", address):
            raise RequestError(f"--address {without_secrets(address)}: write the dashboard's, as http://127.0.0.1:8265")
        yield address
        return
    _check_cluster(cluster)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    say(f"$ ray dashboard {shlex.quote(cluster)} --port {port}")
    with tempfile.TemporaryFile() as log:  # a pipe that nobody reads would fill
        forward = subprocess.Popen(
            [_RAY, "dashboard", cluster, "--port", str(port)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        try:
            until = time.monotonic() + _FORWARD_SECONDS
            while not _listens(port):
                if forward.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    said = log.read().decode(errors="replace").strip().split("\n")
                    raise WorkError(f"{cluster}: its head was not reached: {' '.join(said[-4:]).strip()[:200]}")
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}"
        finally:
            _end_group(forward)


def _check_cluster(cluster: str) -> None:
    """`ray dashboard` says of each of these that a port may be in use."""
    if not Path(cluster).is_file():
        raise RequestError(f"--cluster {cluster}: no such file; name the cluster's file that `ray up` was given")
    try:
        found = yaml.safe_load(Path(cluster).read_bytes())
    except (yaml.YAMLError, ValueError) as error:
        raise RequestError(f"--cluster {cluster}: is no YAML ({' '.join(str(error).split())[:100]})") from error
    lacks = [key for key in ("cluster_name", "provider", "auth") if not isinstance(found, dict) or key not in found]
    if lacks:
        raise RequestError(f"--cluster {cluster}: is no cluster's file for `ray up`: it lacks {' and '.join(lacks)}")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _end_group(leader: subprocess.Popen) -> None:
    """End a process and what it started: `ray dashboard` would leave its ssh behind."""
    with suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)
    leader.wait()


def _fetch_report(file: StudyFile, out: Path, cluster: str | None, say: Callable[[str], None]) -> None:
    """Copy the report here: from the storage if this machine sees it, else from the cluster's head."""
    report = Storage.open(file.study.storage).at(file.study.name, "report")  # it may be the nodes' alone
    try:
        there = report.exists("index.html")
    except OSError as error:
        say(f"the report is in {report.root}, which this machine cannot read ({reason_of(error)})")
        return
    if there:
        try:
            _copy(report, out)
        except OSError as error:
            say(f"the report could not be copied to {out} ({reason_of(error)})")
            return
    elif is_address(file.study.storage):
        say(f"there is no report in {report.root}")
        return
    elif cluster is None:
        say(f"{report.root} is not on this machine; `ray rsync-down CLUSTER.yaml {report.root}/ {out}` fetches it")
        return
    else:
        out.mkdir(parents=True, exist_ok=True)
        command = [_RAY, "rsync-down", cluster, f"{report.root}/", f"{out.absolute()}/"]
        say(f"$ ray rsync-down {shlex.quote(cluster)} {shlex.quote(report.root)}/ {shlex.quote(str(out))}")
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode or not (out / "index.html").is_file():
            said = " ".join((done.stdout + done.stderr).strip().split("\n")[-2:])
            say(f"the report could not be fetched: {said[:200]}")
            return
    say(f"report: {out / 'index.html'}")


def _copy(report: Storage, out: Path) -> None:
    import pyarrow.fs as pafs

    for info in report.fs.get_file_info(pafs.FileSelector(report.root, recursive=True)):
        report.path(info.path[len(report.root) :])  # keys of objects are any text: none may lead out of the folder
    pafs.copy_files(report.root, out.absolute().as_posix(), source_filesystem=report.fs,
                    destination_filesystem=pafs.LocalFileSystem())  # fmt: skip
