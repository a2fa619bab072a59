"""A study as a job: what is sent, what is refused, and a job on a real Ray with its dashboard."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from raysweep.errors import RequestError, WorkError
from raysweep.study.load import load_study
from raysweep.study.submit import pack_study, submit_study

_RAY = """
import sys, ray
context = ray.init("local", num_cpus=2, include_dashboard=True, dashboard_port=0, log_to_driver=False,
                   object_store_memory=100 * 2**20)
print(context.dashboard_url, flush=True)
sys.stdin.read()
"""


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
    assert pack_study(load_study(study, [patches]), str(study), sent) == "own.yaml"
    assert {path.relative_to(sent).as_posix() for path in sent.rglob("*") if path.is_file()} == {
        "own.yaml", "base.yaml", "datasets/own.yaml", "datasets/splits.csv", "search_spaces/finetune.yaml",
        "tables/slides.csv",
    }  # fmt: skip
    assert load_study(sent / "own.yaml").study == load_study(study).study


def test_a_study_that_ships_needs_nothing_sent(tmp_path: Path) -> None:
    file = load_study("glas", ["data=/data"])
    assert pack_study(file, "glas", tmp_path / "sent") == "glas"
    assert not (tmp_path / "sent").exists()


def test_what_a_job_could_not_read_is_refused(study: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"^storage runs: a job has a folder of its own, which goes when it ends"):
        submit_study(str(study), ["storage=runs"])
    (tmp_path / "slides.csv").write_text("path\na.svs\n")
    outside = load_study(study, ["patches={a: {slides: ../slides.csv, um: 32, px: 32}}"])
    with pytest.raises(RequestError, match=r"slides.csv: stands outside the study's folder"):
        pack_study(outside, str(study), tmp_path / "sent")
    with pytest.raises(RequestError, match=r"^--cluster my.yaml: no such file"):
        submit_study(str(study), cluster="my.yaml")


def test_a_dashboard_that_is_not_there_is_told(study: Path) -> None:
    said: list[str] = []
    with pytest.raises(WorkError, match=r"^http://127.0.0.1:9: no Ray dashboard that takes jobs answers"):
        submit_study(str(study), address="http://127.0.0.1:9", say=said.append)
    assert said[0].startswith("$ ray job submit --address http://127.0.0.1:9 --submission-id own-2")
    assert said[0].endswith("-- raysweep run own.yaml")


@pytest.fixture
def dashboard() -> Iterator[str]:
    """The address of the dashboard of a Ray of its own, which ends with the test."""
    pytest.importorskip("aiohttp_cors", reason="the dashboard needs pip install 'ray[default]'")
    head = subprocess.Popen([sys.executable, "-c", _RAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert head.stdin
    assert head.stdout
    try:
        yield f"http://{head.stdout.readline().strip()}"
    finally:
        head.stdin.close()
        head.wait(60)


@pytest.mark.long
def test_a_job_is_followed_to_its_report_and_its_exit_code(study: Path, tmp_path: Path, dashboard: str) -> None:
    said: list[str] = []
    how = {"address": dashboard, "out": tmp_path / "report", "say": said.append}
    assert submit_study(str(study), **how) == 0, said
    assert any("Ray cluster" in line or "checkpoint" in line for line in said), said
    assert (tmp_path / "report/index.html").is_file()
    assert said[-1] == f"report: {tmp_path / 'report/index.html'}"
    assert list((tmp_path / "runs/own/checkpoints/random").glob("*/manifest.json"))
    said.clear()
    assert submit_study(str(study), ["compute.gpus=1", "checkpoints.random.init=missing.pth"], **how) == 2, said
    assert any(line.startswith("raysweep: checkpoints.random") for line in said), said
