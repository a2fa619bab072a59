"""What `plan` foretells, of a study on GlaS's kind of pictures."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from raysweep.errors import RequestError
from raysweep.report.registration import record
from raysweep.report.spec import CompareSpec
from raysweep.storage import Storage
from raysweep.study import speeds
from raysweep.study.load import load_study
from raysweep.study.plan import plan_rows
from tests.study.mini import write_mini


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mini(tmp_path_factory.mktemp("plan"))


def test_every_cell_has_a_time_and_finetune_a_memory(study: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSWEEP_HOME", str(home))
    monkeypatch.setattr(speeds, "_MEASURING", 60.0)  # on a busy machine too
    header, rows, notes = plan_rows(load_study(study))
    assert header == ["stage", "what", "state", "work", "device", "memory"]
    cells = [row for row in rows if row[1].startswith("cell")]
    assert len(cells) == 6
    for row in cells:
        assert row[4], row
        assert row[5] == ("" if " / linear / " in row[1] else "0.1 GB")
    assert [bool(row[4]) for row in rows if row[1].startswith("checkpoint")] == [False, True]
    assert not any("no time is known" in note or "reckoned" in note for note in notes)
    told = next(note for note in notes if "device-hours" in note)
    assert all(part in told for part in ("pretraining", "features", "search"))


def test_a_second_plan_in_a_new_process_measures_nothing(study: Path, home: Path) -> None:
    kept = (home / "cache/speeds.json").read_bytes()
    assert len(json.loads(kept)["answers"]) >= 8
    code = (
        "import sys\n"
        "from raysweep.study.load import load_study\n"
        "from raysweep.study.plan import plan_rows\n"
        "from raysweep.tasks import reader\n"
        "reader.load_image = reader.load_mask = None  # no image is decoded again\n"
        "plan_rows(load_study(sys.argv[1]))\n"
        "print(sorted({'torch', 'timm', 'sklearn', 'scipy.stats', 'scipy.optimize'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code, str(study)], env={**_env(), "RAYSWEEP_HOME": str(home)},
                           capture_output=True, text=True, check=True)  # fmt: skip
    assert found.stdout.strip() == "[]", "nothing was measured, so nothing heavy was imported"
    assert (home / "cache/speeds.json").read_bytes() == kept


def test_nodes_and_dollars_are_told_where_they_are_asked_for(
    study: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSWEEP_HOME", str(home))
    assert not any("node-hours" in note for note in plan_rows(load_study(study))[2])
    asked = ["compute.cpus=32", "compute.gpus=2", "compute.prices={cpu: 0.75, gpu: 1.5}"]
    notes = plan_rows(load_study(study, asked))[2]
    hours = next(note for note in notes if " node-hours: " in note)
    assert re.match(
        r"about \S+ node-hours: tile \S+ \(2 cpu nodes\), pretrain \S+ \(2 gpu nodes\), tune \S+ \(2 gpu", hours
    )
    assert any(re.match(r"about 0\.\d\d dollars by compute.prices: tile 0\.\d\d, pretrain ", note) for note in notes)


def test_more_work_takes_longer(study: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSWEEP_HOME", str(home))
    monkeypatch.setattr(speeds, "_MEASURING", 0.0)

    def clock(*changes: str) -> float:
        from raysweep.study.costs import Costs

        costs: list[Costs] = []
        with monkeypatch.context() as patch:
            patch.setattr(Costs, "finish", lambda self: costs.append(self))
            plan_rows(load_study(study, list(changes)))
        return costs[0].tune

    base = clock()
    assert clock("transfer.steps=400") > 3 * base
    assert clock("transfer.trials=8", "transfer.early_stopping=none") > 1.5 * base
    assert clock("transfer.search=once") < base


def _env() -> dict[str, str]:
    import os

    return dict(os.environ)


def test_what_the_patients_can_decide_is_said_for_each_task(
    study: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSWEEP_HOME", str(home))

    def notes(*changes: str) -> list[str]:
        return [n for n in plan_rows(load_study(study, list(changes)))[2] if n.startswith("demo-") and " test " in n]

    few = notes()
    assert len(few) == 2
    assert all("2 repeats: no verdict is possible, at least 3 repeats are needed" in note for note in few)
    tissue, glands = notes("transfer.repeats=5", "compare.margin=0.03")
    assert tissue.startswith(
        "demo-tissue: 24 test patients, 5 repeats: differences of balanced accuracy below about 0."
    )
    assert "cannot be found; the margin 0.03 cannot be decided, 0." in tissue
    assert "(power 80 %, 1 comparison; spread between units 0.22, repeats 0.03, rest 0.18: assumed, as meas" in tissue
    assert "differences of Dice below about 0." in glands
    assert "; the margin 0.5 can be decided" in notes("transfer.repeats=5", "compare.margin=0.5")[0]


def test_a_study_is_registered_before_its_search_and_the_hash_follows_what_matters(
    study: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSWEEP_HOME", str(home))

    def digest(*changes: str) -> str:
        notes = plan_rows(load_study(study, ["name=registered", *changes]), register=True)[2]
        return next(n for n in notes if n.startswith("registered as ")).split()[2].rstrip(":")

    first = digest()
    assert len(first) == 32
    assert digest("compute.threads=2", "question=Why?", "name=elsewhere") == first
    assert len({first, digest("transfer.trials=3"), digest("seed=1"), digest("compare.margin=0.1"),
                digest("patches.tissue.per_slide=12"), digest("checkpoints.supervised.epochs=3")}) == 6  # fmt: skip
    folder = Storage.open(study.parent / "runs/registered")
    assert str(study.parent) not in folder.read_bytes("compare.json").decode()
    record(folder, CompareSpec(baseline="supervised"))
    with pytest.raises(RequestError, match="plan --register: the first search began on"):
        digest()
