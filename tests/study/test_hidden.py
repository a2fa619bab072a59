"""Passwords, keys and tokens: planted wherever a study may have them, and looked for in all that it leaves."""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
import yaml
from ray._private.worker import global_worker

from raysweep.cli import main
from raysweep.storage import Storage, shipped
from raysweep.study.speeds import Speeds
from raysweep.tasks.obtain import fetch
from tests.bucket import Bucket, serve_bucket
from tests.drawn import copy_slides, copy_tissue

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("ray_session")]
_TOKEN, _ENVIRONMENT = (
    "token-8f31c0",
    {"HF_TOKEN": "hf_77aa21", "AWS_SECRET_ACCESS_KEY": "aws/55e0+1", "WANDB_API_KEY": "wb-19c4d2"},
)
_STORAGE = "hush"  # of `Bucket.address`
_SECRETS = (_TOKEN, _STORAGE, *_ENVIRONMENT.values())


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with serve_bucket() as served:
        yield served


def _run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["raysweep", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out + printed.err


def _texts(home: Storage) -> Iterator[tuple[str, str]]:
    """Every file below a folder as text, tables with all that they hold."""
    infos = home.fs.get_file_info(pafs.FileSelector(home.root, recursive=True))
    for info in infos:
        if info.is_file:
            with home.fs.open_input_file(info.path) as file:
                data = file.read()
                text = data.decode("latin-1")
                if info.path.endswith(".parquet"):
                    table = pq.read_table(file)
                    text += json.dumps([table.to_pylist(), str(table.schema.metadata)], default=str)
            yield info.path, text


def test_no_secret_is_kept_or_printed(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in _ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    copy_tissue(tmp_path / "data", patients=3)
    table = copy_slides(tmp_path / "slides", n=1)
    for path in tmp_path.glob("slides/*"):
        bucket.put(f"set/{path.name}", path.read_bytes())
    slides = bucket.address(f"set/{table.name}")
    card = yaml.safe_load((shipped("datasets") / "demo-tissue.yaml").read_text())
    (tmp_path / "datasets").mkdir()
    monkeypatch.setattr(fetch, "_TRIES", 1)
    files = [{"url": f"https://127.0.0.1:9/demo.zip?token={_TOKEN}", "unpack": "."}]
    (tmp_path / "datasets/demo-tissue.yaml").write_text(yaml.safe_dump({**card, "download": {"files": files}}))
    study = {
        "name": "hidden",
        "storage": bucket.address("runs"),
        "data": str(tmp_path / "data"),
        "patches": {"tissue": {"slides": slides, "um": 64, "px": 32, "per_slide": 8},
                    "gone": {"slides": bucket.address("set/gone-*.svs"), "um": 64, "px": 32}},
        "checkpoints": {"random": {"backbone": "test_resnet"}},
        "tasks": ["demo-tissue"],
        "transfer": {"protocols": {"classification": ["linear"]}, "fractions": [1.0], "repeats": 2},
        "compare": {"baseline": "random", "primary": {"protocol": "linear"}},
        "compute": {"trials_at_once": 1, "tile_workers": 1},
    }  # fmt: skip
    path = tmp_path / "hidden.yaml"
    path.write_text(yaml.safe_dump(study))
    code, said = _run(monkeypatch, capsys, "run", str(path))
    assert code == 2, said
    assert "gone-*.svs" in said
    del study["patches"]["gone"]
    path.write_text(yaml.safe_dump(study))
    monkeypatch.setattr(Speeds, "_network", lambda *_: None)  # plans measure no network
    for words in (["run"], ["--log", "json", "run"], ["plan"], ["status"]):
        code, more = _run(monkeypatch, capsys, *words, str(path))
        assert code == 0, more
        said += more
    logging.captureWarnings(False)
    monkeypatch.chdir(tmp_path)
    wrong = [("datasets", "prepare", "demo-tissue", "--data", str(tmp_path / "elsewhere"), "--download"),
             ("datasets", "show", "demo-tissue"), ("run", str(path), f"storage=s3://KEY:{_STORAGE}/x@slides/runs"),
             ("run", str(path), f"seed=s3://KEY:{_STORAGE}@slides"),
             ("submit", str(path), f"storage=s3://KEY:{_STORAGE}@slides"),
             ("cluster", "slurm", str(path), f"storage=s3://b/x?secret_key={_STORAGE}")]  # fmt: skip
    for command in wrong:
        code, more = _run(monkeypatch, capsys, *command)
        assert (code == 0) == (command[1] == "show"), (command, more)
        said += more
    assert not [secret for secret in _SECRETS if secret in said], said
    home = Storage.open(bucket.address("runs/hidden"))
    texts = dict(_texts(home))
    assert {"study.json", "index.html", "final.parquet", "task.json", "slides.parquet", "results.parquet"} <= {
        name.rsplit("/", 1)[-1] for name in texts
    }
    texts |= dict(_texts(Storage.open(tmp_path / "elsewhere")))
    logs = Path(global_worker.node.get_logs_dir_path())
    texts |= {str(file): file.read_text(errors="replace") for file in logs.rglob("*") if file.is_file()}
    found = [(name, secret) for name, text in texts.items() for secret in _SECRETS if secret in text]
    assert not found
    assert "s3://slides/runs?scheme=http" in texts[home.path("study.json")]
