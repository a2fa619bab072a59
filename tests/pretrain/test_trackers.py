"""Trackers: what they are sent, that a resumed training goes on in its run, and that none of them ends a training.

Those that are installed are tried for real, without a network.
"""

import importlib.util
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raysweep.errors import RequestError
from raysweep.pretrain import trackers
from raysweep.pretrain.trackers import Trackers, check_trackers
from raysweep.storage import Storage

CONFIG = {"method": "simclr", "lr": 0.1, "options": {"temperature": 0.2}}


class Noted:
    """A tracker that keeps what it is sent; a network that is gone can be had from it."""

    made: list["Noted"]

    def __init__(self, known: str | None, project: str, run: str, config: dict[str, Any]) -> None:
        self.id, self.known = known or f"id-of-{run}", known
        self.where = (project, run, config)
        self.sent: list[tuple[dict[str, float], int]] = []
        self.gone = self.closed = False
        self.made.append(self)

    def log(self, figures: dict[str, float], step: int) -> None:
        if self.gone:
            raise ConnectionError("no route to host")
        self.sent.append((figures, step))

    def close(self) -> None:
        if self.gone:
            raise ConnectionError("no route to host")
        self.closed = True


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[Noted]:
    made: list[Noted] = []
    monkeypatch.setattr(Noted, "made", made, raising=False)
    monkeypatch.setattr(trackers, "_TRACKERS", {"wandb": Noted, "mlflow": Noted})
    return made


def opened(folder: Path, *names: str, said: list[str] | None = None) -> Trackers:
    say = [].append if said is None else said.append
    return Trackers(names, Storage.open(folder), project="glands", run="simclr", config=CONFIG, say=say)


def test_each_is_sent_every_epoch_in_a_run_of_the_checkpoints_name(tmp_path: Path, noted: list[Noted]) -> None:
    both = opened(tmp_path, "wandb", "mlflow")
    both.log({"loss": 2.0}, 1)
    both.log({"loss": 1.0}, 2)
    both.close()
    assert [t.where for t in noted] == [("glands", "simclr", CONFIG)] * 2
    assert [t.sent for t in noted] == [[({"loss": 2.0}, 1), ({"loss": 1.0}, 2)]] * 2
    assert all(t.closed for t in noted)


def test_a_resumed_training_goes_on_in_its_run(tmp_path: Path, noted: list[Noted]) -> None:
    opened(tmp_path, "wandb").log({"loss": 2.0}, 1)  # and the process dies
    opened(tmp_path, "wandb")
    assert [t.known for t in noted] == [None, "id-of-simclr"]
    opened(tmp_path / "another", "wandb")
    assert noted[-1].known is None


def test_one_that_fails_says_so_once_and_the_other_goes_on(tmp_path: Path, noted: list[Noted]) -> None:
    said: list[str] = []
    both = opened(tmp_path, "wandb", "mlflow", said=said)
    noted[0].gone = True
    for epoch in (1, 2):
        both.log({"loss": 2.0}, epoch)
    both.close()
    assert said == ["wandb takes no more figures (ConnectionError: no route to host); the training goes on"]
    assert len(noted[1].sent) == 2
    assert noted[1].closed


def test_one_that_cannot_begin_is_said_and_left_out(
    tmp_path: Path, noted: list[Noted], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*given: Any) -> None:
        raise PermissionError("no account")

    monkeypatch.setattr(trackers, "_TRACKERS", {"wandb": refused, "mlflow": Noted})
    said: list[str] = []
    both = opened(tmp_path, "wandb", "mlflow", said=said)
    both.log({"loss": 2.0}, 1)
    assert said == ["wandb takes no more figures (PermissionError: no account); the training goes on"]
    assert len(noted) == 1
    assert noted[0].sent == [({"loss": 2.0}, 1)]


def test_a_package_that_is_not_there_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_trackers([])
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    says = r"^compute.trackers: wandb is not installed; run `pip install 'raysweep\[wandb\]'`, or take it out$"
    with pytest.raises(RequestError, match=says):
        check_trackers(["wandb"])
    (tmp_path / "runs_of_a_tracker").mkdir()  # as wandb leaves a folder `wandb` behind where it ran
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(trackers, "find_spec", lambda name: importlib.util.find_spec("runs_of_a_tracker"))
    with pytest.raises(RequestError, match="wandb is not installed"):
        check_trackers(["wandb"])


def test_no_package_comes_before_a_tracker_runs() -> None:
    code = "import sys, raysweep.pretrain.trackers; print({'wandb', 'mlflow', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def wandb_records(file: Path) -> Iterator[Any]:
    """The records of a run that waits to be sent: after 7 bytes a log of LevelDB's kind (doc/log_format.md there)."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, begun = file.read_bytes(), 7, b""
    while at < len(data):
        if 2**15 - at % 2**15 < 7:  # too little of a block is left for a header
            at += 2**15 - at % 2**15
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        begun += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(begun)
            begun = b""


def test_wandb_takes_two_parts_of_a_training_as_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed: pip install 'raysweep[wandb]'", exc_type=ImportError)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    check_trackers(["wandb"])
    said: list[str] = []
    for epochs in ((1, 2), (3,)):
        part = opened(tmp_path / "training", "wandb", said=said)
        for epoch in epochs:
            part.log({"loss": 1 / epoch}, epoch)
        part.close()
    assert said == []
    files = sorted(tmp_path.rglob("*.wandb"))
    assert len(files) == 2
    assert len({file.name for file in files}) == 1, "the same run"
    found, configs = [], []
    for file in files:
        for record in wandb_records(file):
            if record.HasField("history"):
                values = {item.key or ".".join(item.nested_key): item.value_json for item in record.history.item}
                found.append((int(values["_step"]), float(values["loss"])))
            if record.HasField("run"):
                assert (record.run.project, record.run.display_name) == ("glands", "simclr")
                configs.append({item.key: item.value_json for item in record.run.config.update})
    assert sorted(found) == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert configs[0]["method"] == '"simclr"'
    assert not list(tmp_path.rglob("wandb-metadata.json")), "it would hold the command line, with passwords"
    assert not list(tmp_path.rglob("output.log")), "and what the process prints"


def test_mlflow_takes_two_parts_of_a_training_as_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip(
        "mlflow", reason="mlflow is not installed: pip install 'raysweep[mlflow]'", exc_type=ImportError
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs.db")
    check_trackers(["mlflow"])
    said: list[str] = []
    for epochs in ((1, 2), (3,)):
        part = opened(tmp_path / "training", "mlflow", said=said)
        for epoch in epochs:
            part.log({"loss": 1 / epoch}, epoch)
    part.close()
    assert said == []
    client = mlflow.tracking.MlflowClient()
    experiment = client.get_experiment_by_name("glands")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("simclr", "FINISHED")
    assert run.data.params == {key: str(value) for key, value in CONFIG.items()}
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
