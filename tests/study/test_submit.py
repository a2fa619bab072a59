"""A study as a job: what is sent, what is refused, how it is followed, and jobs on a real Ray with its dashboard."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import psutil
import pyarrow.fs as pafs
import pytest
import yaml
from ray.dashboard.utils import get_address_for_submission_client

from raysweep.errors import RequestError, WorkError
from raysweep.storage import Storage, shipped
from raysweep.study import job, submit
from raysweep.study.job import Job
from raysweep.study.load import load_study
from raysweep.study.pack import Package, pack_study
from raysweep.study.submit import submit_study
from tests.study.mini import results, write_mini

_BIN = Path(sys.executable).parent


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of one random network that extends another; its slide table, cards and spaces stand beside it."""
    folder = tmp_path / "study"
    (folder / "datasets/more").mkdir(parents=True)
    (folder / "search_spaces").mkdir()
    for name in ("datasets/own.yaml", "datasets/splits.csv", "search_spaces/finetune.yaml", "tables/slides.csv"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("path\na.svs\n")
    (folder / "torch.py").write_text("raise SystemExit('a script of the user')")
    (folder / "datasets/picture.png").write_bytes(b"not sent")
    base = {"name": "base", "storage": str(tmp_path / "runs"), "checkpoints": {"random": {"backbone": "test_resnet"}}}
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    (folder / "own.yaml").write_text(yaml.safe_dump({"name": "own", "extends": "base"}))
    return folder / "own.yaml"


def test_what_a_study_is_made_of_is_sent_and_nothing_else(study: Path, tmp_path: Path) -> None:
    patches = "patches={a: {slides: tables/slides.csv, um: 32, px: 32}, b: {slides: 's3://b/s.csv', um: 32, px: 32}}"
    sent = tmp_path / "sent"
    package = pack_study(load_study(study, [patches]), str(study), ["seed=1"], sent)
    assert package.command == "raysweep run own.yaml seed=1"
    assert {path.relative_to(sent).as_posix() for path in sent.rglob("*") if path.is_file()} == {
        "own.yaml", "base.yaml", "datasets/own.yaml", "datasets/splits.csv", "search_spaces/finetune.yaml",
        "tables/slides.csv",
    }  # fmt: skip
    assert load_study(sent / "own.yaml").study == load_study(study).study
    again = pack_study(load_study(study, [patches]), str(study), ["seed=1"], tmp_path / "again")
    (study.parent / "datasets/own.yaml").write_text("name: other")
    other = pack_study(load_study(study, [patches]), str(study), ["seed=1"], tmp_path / "other")
    assert again.digest == package.digest != other.digest


def test_a_study_that_ships_needs_nothing_sent(tmp_path: Path) -> None:
    file = load_study("glas", ["data=/data", "storage=s3://b/runs"])
    assert pack_study(file, "glas", ["data=/my data"], tmp_path / "sent").command == "raysweep run glas 'data=/my data'"
    assert not (tmp_path / "sent").exists()


def test_what_a_job_could_not_read_or_everybody_could_is_refused(study: Path, tmp_path: Path) -> None:
    home = study.parent
    (tmp_path / "slides.csv").write_text("path\na.svs\n")
    (home / "own.pth").write_bytes(b"weights")
    (home / "x.svs").write_bytes(b"slide")
    (home / "here.csv").write_text("path\n/gone/a.svs\nx.svs\n")
    (home / "open.csv").write_text("path\n/gone/a.svs\ns3://me:secret@b/a.svs\n")
    (home / "link.csv").symlink_to(tmp_path / "slides.csv")
    with (home / "huge.csv").open("wb") as file:
        file.write(b"path\n/a.svs\n")
        file.truncate(101 * 10**6)
    for change, sentence in (
        ("storage=runs", r"^storage runs: a job has a folder of its own, which goes when it ends"),
        ("patches={a: {slides: gone.csv, um: 32, px: 32}}", r"^patches.a.slides: .*gone.csv: no such file"),
        ("patches={a: {slides: slides/*.svs, um: 32, px: 32}}", r"^patches.a.slides: slides/\*.svs stands on this mac"),
        ("patches={a: {slides: tables/slides.csv, root: x, um: 32, px: 32}}", r"^patches.a.root: x stands on this mac"),
        ("patches={a: {slides: /a/*.svs, coords: x, um: 32, px: 32}}", r"^patches.a.coords: x stands on this machine"),
        ("patches={a: {slides: here.csv, um: 32, px: 32}}", r"here.csv, line 3: path x.svs stands on this machine"),
        ("patches={a: {slides: link.csv, um: 32, px: 32}}", r"link.csv: stands outside the study's folder"),
        ("patches={a: {slides: huge.csv, root: /s, um: 32, px: 32}}", r"study: 101 MB of tables and cards, and a job"),
        (
            "patches={a: {slides: open.csv, um: 32, px: 32}}",
            r"open.csv: line 3: holds a password or a key, which e",
        ),
        (
            "checkpoints.random={init: random, backbone: test_resnet, method: simclr, patches: ../study/tables}",
            r"^checkpoints.random.patches: ../study/tables stands on this machine",
        ),
        ("patches={a: {slides: ../slides.csv, um: 32, px: 32}}", r"slides.csv: stands outside the study's folder"),
        ("checkpoints.random.init=own.pth", r"^checkpoints.random.init: own.pth stands on this machine, and weights"),
        ("storage=s3://me:secret@bucket/runs", r"^storage: the address holds a password, which everybody sees"),
    ):
        with pytest.raises(RequestError, match=sentence) as refused:
            pack_study(load_study(study, [change]), str(study), [change], tmp_path / "sent")
        assert "secret" not in str(refused.value)
        assert not list(tmp_path.glob("sent/**/*.csv"))
    with pytest.raises(RequestError, match=r"^--cluster my.yaml: no such file"):
        submit_study(str(study), cluster="my.yaml")
    with pytest.raises(RequestError, match=r"^--out .*own.pth: is a file"):
        submit_study(str(study), out=home / "own.pth")


def test_what_stands_beside_the_study_itself_is_sent_as_well(study: Path, tmp_path: Path) -> None:
    """Without its search space a job would take the one that ships, and say nothing."""
    home, sent = study.parent, tmp_path / "sent"
    (home / "common/datasets").mkdir(parents=True)
    (home / "base.yaml").rename(home / "common/base.yaml")
    study.write_text("{name: own, extends: common/base.yaml, tasks: [mine, {card: other, test_sets: [third]}]}")
    for name in ("mine", "other", "third", "finetune_segmentation", "linear-own", "another_study", "my"):
        (home / f"{name}.yaml").write_text("table: splits2.csv")
    for name in ("splits2.csv", "huge.csv", "common/datasets/far.yaml", "real.yaml"):
        (home / name).write_text("x")
    (home / "datasets/linked.yaml").symlink_to(home / "real.yaml")
    pack_study(load_study(study, ["transfer.protocols=[finetune, linear]"]), str(study), [], sent)
    assert {path.relative_to(sent).as_posix() for path in sent.rglob("*") if path.is_file()} == {
        "own.yaml", "common/base.yaml", "common/datasets/far.yaml", "datasets/linked.yaml", "datasets/own.yaml",
        "datasets/splits.csv", "search_spaces/finetune.yaml", "mine.yaml", "other.yaml", "third.yaml", "splits2.csv",
        "finetune_segmentation.yaml", "linear-own.yaml",
    }  # fmt: skip


class _Jobs:
    """Ray's list of jobs, in which another's appears just before ours is taken."""

    def __init__(self, url: str) -> None:
        assert get_address_for_submission_client(url) == url  # as Ray's own client asks
        self.jobs: list[SimpleNamespace] = []

    def list_jobs(self) -> list[SimpleNamespace]:
        return list(self.jobs)

    def submit_job(self, *, submission_id: str, metadata: dict[str, str], **_: object) -> None:
        if not self.jobs:
            status = SimpleNamespace(is_terminal=lambda: False)
            self.jobs = [SimpleNamespace(submission_id=submission_id, status=status, metadata=dict(metadata, **_OTHER))]
            raise RuntimeError(f"status code 400: Job with submission_id {submission_id} already exists.")
        self.jobs.append(SimpleNamespace(submission_id=submission_id))


_OTHER: dict[str, str] = {}


@pytest.mark.parametrize(
    ("other", "said"),
    [({}, ["job own-1 is at this study already; this is its log"]), ({"raysweep_study": "elsewhere"}, ["job own-2"])],
)
def test_a_study_that_is_submitted_twice_at_once_is_one_job(
    monkeypatch: pytest.MonkeyPatch, other: dict[str, str], said: list[str]
) -> None:
    monkeypatch.setitem(globals(), "_OTHER", other)
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.setenv(name, "http://another-cluster:8265")
    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", _Jobs)
    told: list[str] = []
    Job.begin("http://h", "own", "s3://b/runs/own", Package("raysweep run own.yaml", "5e"), "x", told.append)
    assert told == said
    assert os.environ["RAY_API_SERVER_ADDRESS"] == "http://another-cluster:8265"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cluster_name: x", "is no cluster's file for `ray up`: it lacks provider and auth"),
        ("[1]", "it lacks cluster_name and provider and auth"),
        ("{", "is no YAML"),
        ("\0", "is no YAML"),
    ],
)
def test_a_file_of_no_cluster(text: str, sentence: str, study: Path, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(text)
    with pytest.raises(RequestError, match=sentence):
        submit_study(str(study), cluster=str(tmp_path / "my.yaml"))


@pytest.mark.parametrize("address", ["127.0.0.1:8265", "auto", "ray://h:10001", "http://", "http:///x"])
def test_an_address_of_no_dashboard(address: str, study: Path) -> None:
    with pytest.raises(RequestError, match=r"^--address .*: write the dashboard's, as http://127\.0\.0\.1:8265"):
        submit_study(str(study), address=address)


def test_a_dashboard_that_is_not_there_is_told(study: Path) -> None:
    said: list[str] = []
    with pytest.raises(WorkError, match=r"^http://127.0.0.1:9: no Ray dashboard that takes jobs answers"):
        submit_study(str(study), address="http://127.0.0.1:9", say=said.append)
    assert said[0].startswith("$ ray job submit --address http://127.0.0.1:9 --working-dir ")
    assert said[0].endswith("-- raysweep run own.yaml")


def test_a_port_that_takes_a_connection_and_says_nothing(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_ANSWER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(WorkError, match=f"^{url}: no Ray dashboard that takes jobs answers .*timed out"):
            submit_study(str(study), address=url, say=lambda _: None)


@dataclass
class _Dashboard:
    """A client of one job, whose connection is lost after so many pieces of its log, each time it is made."""

    pieces: list[str]
    lost_after: list[int]
    code: int | None = 0
    status: str = "SUCCEEDED"
    asked: list[str] = field(default_factory=list)

    async def tail_job_logs(self, number: str) -> AsyncIterator[str]:
        self.asked.append(number)
        until = self.lost_after.pop(0) if self.lost_after else None
        for piece in self.pieces[:until]:
            yield piece
        if until is not None:
            raise RuntimeError("WebSocket connection closed unexpectedly with close code 1006")

    def get_job_info(self, number: str) -> SimpleNamespace:
        status = SimpleNamespace(value=self.status, is_terminal=lambda: True)
        return SimpleNamespace(status=status, driver_exit_code=self.code, message="Out of memory.\nSorry.")


def test_a_log_goes_on_after_its_connection_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job.time, "sleep", lambda seconds: None)
    client, said = _Dashboard(["a\nb", "b\n", "c\n\nd\n", "e"], [2, 1, 0, 3]), list[str]()
    assert Job(client, "x-1", "http://h").follow(said.append) == 0
    assert said == ["a", "bb", "c", "", "d", "e"]
    assert client.asked == ["x-1"] * 5


@pytest.mark.parametrize(
    ("status", "code", "exit_code", "told"),
    [
        ("SUCCEEDED", None, 0, []),
        ("FAILED", 2, 2, []),
        ("FAILED", 3, 3, []),
        ("FAILED", 1, 1, ["job x-1: failed (Out of memory. Sorry.)"]),
        ("FAILED", -9, 1, ["job x-1: failed (Out of memory. Sorry.)"]),
        ("FAILED", None, 1, ["job x-1: failed (Out of memory. Sorry.)"]),
        ("STOPPED", None, 143, ["job x-1: stopped (Out of memory. Sorry.); run the same command again to go on"]),
    ],
)
def test_the_exit_code_is_that_of_the_run(status: str, code: int | None, exit_code: int, told: list[str]) -> None:
    said: list[str] = []
    assert Job(_Dashboard([], [], code, status), "x-1", "http://h").follow(said.append) == exit_code
    assert said == told


def test_a_dashboard_that_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(job, "_SILENT_SECONDS", 0.05)
    with pytest.raises(WorkError, match=r"^http://h does not answer any more \(.*; job x-1 goes on if its cluster do"):
        Job(_Dashboard([], [0] * 10**6), "x-1", "http://h").follow(print)


def end_all(process: subprocess.Popen) -> None:
    """Kill a process and all that it has started."""
    with suppress(psutil.NoSuchProcess):
        mine = psutil.Process(process.pid)
        for one in [*mine.children(recursive=True), mine]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
    process.wait()


@dataclass
class _Head:
    """A Ray of its own with a dashboard that asks for a token."""

    env: dict[str, str]
    folder: Path

    def start(self, *words: object, **changes: str) -> subprocess.Popen:
        """A command of a user of this cluster, who stands in the folder."""
        command = [str(_BIN / str(words[0])), *map(str, words[1:])]
        if words[0] == "raysweep":
            command = [sys.executable, "-m", "raysweep.cli", *command[1:]]
        return subprocess.Popen(command, cwd=self.folder, env={**self.env, **changes}, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)  # fmt: skip

    def run(self, *words: object, **changes: str) -> tuple[int, str]:
        """Exit code and output."""
        process = self.start(*words, **changes)
        said = process.communicate(timeout=400)[0]
        return process.returncode, said


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Head]:
    pytest.importorskip("aiohttp_cors", reason="the dashboard needs pip install 'ray[default]'")
    folder = tmp_path_factory.mktemp("user")
    (folder / "token").write_text("5e" * 32)
    with tempfile.TemporaryDirectory(prefix="rs-", dir="/tmp", ignore_cleanup_errors=True) as short:
        env = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token"), "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_TMPDIR": short, "PATH": f"{_BIN}:{os.environ['PATH']}"}  # fmt: skip
        port, dashboard, client = _free_ports(3)
        log = (folder / "head.log").open("w")
        words = [
            "start", "--head", "--block", f"--port={port}", f"--dashboard-port={dashboard}", "--num-cpus=2",
            "--node-ip-address=127.0.0.1", "--object-store-memory=100000000", f"--temp-dir={short}/ray",
            "--dashboard-agent-listen-port=0", f"--ray-client-server-port={client}", "--min-worker-port=0",
            "--max-worker-port=0", "--disable-usage-stats",
        ]  # fmt: skip
        process = subprocess.Popen([str(_BIN / "ray"), *words], env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            started = _Head(env | {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}"}, folder)
            until = time.monotonic() + 120
            while started.run("ray", "job", "list")[0]:
                assert process.poll() is None, (folder / "head.log").read_text()
                assert time.monotonic() < until, (folder / "head.log").read_text()
            yield started
        finally:
            end_all(process)


def _free_ports(n: int) -> list[int]:
    """Beyond those that Ray gives to workers."""
    found: list[int] = []
    for port in range(21000 + os.getpid() % 5000, 32000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == n:
            return found
    raise AssertionError("too few ports are free")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_study_is_submitted_left_alone_followed_again_and_gone_on_with(head: _Head) -> None:
    card = yaml.safe_load((shipped("datasets") / "demo-tissue.yaml").read_text())
    home = head.folder / "study"
    home.mkdir()
    path = write_mini(
        home, tasks=["own-tissue"], transfer={"protocols": ["linear"], "fractions": [0.5], "repeats": 2},
        compare={"baseline": "random", "primary": {"protocol": "linear"}},
    )  # fmt: skip
    (home / "datasets").mkdir()
    (home / "datasets/own-tissue.yaml").write_text(yaml.safe_dump(card | {"name": "own-tissue"}))
    submit = ["raysweep", "submit", path, "--out", "report"]

    follower = head.start(*submit)
    assert follower.stdout
    seen = []
    for line in follower.stdout:
        seen.append(line)
        if "tile tissue: started" in line:
            break
    follower.send_signal(signal.SIGINT)
    seen.append(follower.communicate(timeout=30)[0])
    said = "".join(seen)
    assert follower.returncode == 130, said
    number = re.search(r"^job (mini-[0-9-]+)$", said, re.MULTILINE)
    assert number, said
    assert f"job {number[1]} goes on, and the same command follows it again" in said
    code, said = head.run(*submit, "seed=1")
    assert code == 2, said
    assert f"job {number[1]} is at this study, which has changed since" in said

    code, said = head.run(*submit)
    assert code == 3, said  # of the mini study one slide has no file
    assert f"job {number[1]} is at this study already" in said
    assert "search: " in said
    assert said.endswith("report: report/index.html\n")
    assert (head.folder / "report/index.html").stat().st_size > 5000
    first = results(home)
    assert len(first) == 4

    code, said = head.run(*submit)
    assert code == 3, said
    assert re.search(r"^job mini-[0-9-]+$", said, re.MULTILINE)[0] != f"job {number[1]}"
    assert "tile tissue" not in said
    assert results(home) == first

    plain = ["ray", "job", "submit", "--submission-id", "plain", "--no-wait", "--working-dir", home]
    assert head.run(*plain, "--", "raysweep", "run", "mini.yaml")[0] == 0
    assert "report: " in head.run("ray", "job", "logs", "plain", "--follow")[1]
    assert "exit code 3" in head.run("ray", "job", "status", "plain")[1]


@pytest.mark.long
def test_what_goes_wrong_in_a_job_is_its_exit_code(head: _Head, study: Path) -> None:
    code, said = head.run("raysweep", "submit", study)
    assert code == 0, said
    code, said = head.run("raysweep", "submit", study, "checkpoints.random.init=missing.pth")
    assert code == 2, said
    assert "\nraysweep: checkpoints.random" in said
    code, said = head.run("raysweep", "submit", study, "patches={a: {slides: tables/slides.csv, um: 32, px: 32}}")
    assert code == 1, said
    assert re.search(r"^raysweep: .*a\.svs", said, re.MULTILINE)
    assert " INFO " not in said.partition("Running entrypoint")[0].replace("INFO job_manager", "")
    (head.folder / "other").write_text("00" * 32)
    code, said = head.run("raysweep", "submit", study, RAY_AUTH_TOKEN_PATH=str(head.folder / "other"))
    assert code == 1, said
    assert said.count("raysweep:") == 1
    assert "it asks for a token: set RAY_AUTH_MODE=token" in said
    code, said = head.run("raysweep", "submit", study, RAY_AUTH_MODE="disabled")
    assert code == 1, said
    assert "it asks for a token" in said


@pytest.mark.long
def test_a_job_that_is_stopped_says_so(head: _Head) -> None:
    home = head.folder / "stopped"
    home.mkdir()
    follower = head.start("raysweep", "submit", write_mini(home, name="stopped"))
    assert follower.stdout
    said = next(line for line in follower.stdout if line.startswith("job stopped-"))
    assert any("tile tissue: started" in line for line in follower.stdout)
    assert head.run("ray", "job", "stop", said.split()[1])[0] == 0
    rest = follower.communicate(timeout=60)[0]
    assert follower.returncode == 143, rest
    assert rest.endswith("); run the same command again to go on\n"), rest


@pytest.mark.parametrize("storage", ["s3://KEY:hush@bucket/runs", "s3://bucket/runs?secret_key=hush&region=eu"])
def test_a_password_of_the_study_itself_is_no_part_of_a_job(study: Path, storage: str) -> None:
    text = yaml.safe_load((study.parent / "base.yaml").read_text()) | {"storage": storage}
    (study.parent / "base.yaml").write_text(yaml.safe_dump(text))
    said: list[str] = []
    with pytest.raises(RequestError, match=r"^storage: the address holds a password, which everybody") as refused:
        submit_study(str(study), address="http://127.0.0.1:9", say=said.append)
    assert "hush" not in f"{refused.value}{said}"


@pytest.mark.parametrize("key", ["a/../../x.html", "../x.html"])
def test_a_report_is_written_nowhere_but_where_it_is_wanted(tmp_path: Path, key: str) -> None:
    """Keys of a bucket's objects are any text."""

    class Odd(pafs.FileSystemHandler):
        def get_file_info_selector(self, selector):
            return [pafs.FileInfo(f"{selector.base_dir}/{key}", pafs.FileType.File, size=1)]

    Odd.__abstractmethods__ = frozenset()
    with pytest.raises(WorkError, match=r"x\.html is not below it"):
        submit._copy(Storage(pafs.PyFileSystem(Odd()), "bucket/report"), tmp_path)
