import logging
import os

import pytest
import torch

from raysweep.pretrain.states import States
from raysweep.storage import Storage


def test_the_last_few_are_kept(tmp_path):
    folder = Storage.open(tmp_path)
    states = States(folder, keep=2)
    assert states.last() is None
    for step in (10, 20, 30):
        states.save(step, {"step": step, "weights": torch.full((3,), float(step))})
    states.close()
    assert folder.names() == ["step-000000020.pt", "step-000000030.pt"]
    assert States.newest(folder) == 30
    last = States(folder).last()
    assert last is not None
    assert last["weights"].tolist() == [30.0] * 3


def test_a_state_is_that_of_its_moment(tmp_path):
    """Training changes the tensors while they are written."""
    states = States(Storage.open(tmp_path))
    weights = torch.zeros(1000)
    states.save(1, {"step": 1, "deep": [{"weights": weights}]})
    weights.fill_(7.0)
    states.close()
    last = states.last()
    assert last is not None
    assert not last["deep"][0]["weights"].any()


def test_half_of_a_state_is_never_loaded(tmp_path):
    folder = Storage.open(tmp_path)
    states = States(folder)
    for step in (1, 2):
        states.save(step, {"step": step, "weights": torch.zeros(100)})
    states.close()
    whole = folder.read_bytes("step-000000002.pt")
    folder.write_bytes(whole[: len(whole) // 2], "step-000000002.pt")
    last = States(folder).last()
    assert last is not None
    assert last["step"] == 1


def test_a_full_disk_leaves_the_state_before(tmp_path, monkeypatch, caplog):
    folder = Storage.open(tmp_path)
    states = States(folder)
    states.save(1, {"step": 1})
    states.wait()

    def full(self, data, *parts, durable=True):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(Storage, "write_bytes", full)
        states.save(2, {"step": 2})
        states.close()
    assert "state of step 2 could not be written" in caplog.text
    last = States(folder).last()
    assert last is not None
    assert last["step"] == 1


def test_a_stranger_in_the_folder_is_no_state(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    assert States(Storage.open(tmp_path)).last() is None


@pytest.mark.parametrize("keep", [1, 3])
def test_how_many(tmp_path, keep):
    folder = Storage.open(tmp_path)
    states = States(folder, keep=keep)
    for step in range(5):
        states.save(step, {"step": step})
    states.close()
    assert len(folder.names()) == keep


def test_a_state_that_would_run_something_is_not_loaded(tmp_path):
    class Runs:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    folder = Storage.open(tmp_path / "states")
    states = States(folder)
    states.save(1, {"step": 1})
    states.close()
    torch.save({"step": Runs()}, tmp_path / "states/step-000000002.pt")
    last = States(folder).last()
    assert last == {"step": 1}
    assert not (tmp_path / "made").exists()
