"""A real study that screens its checkpoints and chooses a point of a grid."""

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml

from raysweep.errors import RequestError
from raysweep.progress import Progress
from raysweep.study.clean import unused
from raysweep.study.graph import build_graph
from raysweep.study.load import load_study
from raysweep.study.plan import plan_rows
from raysweep.study.run import run_study
from raysweep.study.speeds import Speeds
from raysweep.study.status import status_rows
from tests.drawn import copy_sets

_STUDY: dict[str, Any] = {
    "name": "screened", "tasks": ["demo-tissue"],
    "checkpoints": {
        "base": {"backbone": "test_resnet"},
        "g": {"grid": {"backbone": ["test_resnet", "test_efficientnet"]}, "choose": "own_val"},
        "other": {"backbone": "test_vit"},
    },
    "transfer": {"protocols": ["finetune", "linear"], "fractions": [0.5], "repeats": 1, "trials": 1, "steps": 2,
                 "evaluations": 1, "batch": 4, "screen": {"protocol": "linear", "keep": 1}},
    "compare": {"baseline": "base"}, "compute": {"trials_at_once": 2},
}  # fmt: skip


def _rows(table: Path) -> list[dict[str, str]]:
    with open(table, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("screen")
    copy_sets(folder / "data")
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(_STUDY | {"storage": str(folder / "runs"), "data": str(folder / "data")}))
    return file


def test_a_plan_is_of_all_that_may_be_chosen(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Speeds, "_network", lambda *_: None)  # times: `test_plan.py`
    file = load_study(path)
    _, rows, notes = plan_rows(file)
    assert (
        "choices are not made yet: trials and finals are those of the checkpoints that may be chosen, at most" in notes
    )
    assert [row[1:] for row in rows if row[1].startswith(("screen", "choice"))] == [
        *(["choice of g for task demo-tissue, " + what, "to do", "1 of 2, by own_val", "", ""]
          for what in (f"{p} at 0.5, repeat 0" for p in ("finetune", "linear"))),
        ["screen of task demo-tissue", "to do", "1 of 2, by screen", "", ""],
    ]  # fmt: skip
    assert build_graph(file).rows == ["base", "g", "other"]
    for wrong, says in (
        (["compare.baseline=g-backbonetest_resnet"], "not a checkpoint of this study; they are base, g, other"),
        (["tasks=[demo-glands]", "transfer.protocols=[finetune]"], "linear cannot do task demo-glands .segmentation."),
        (["transfer.screen.keep=3"], "keep: 3 is more than the 2 checkpoints beside the baseline"),
    ):
        with pytest.raises(RequestError, match=says):
            build_graph(load_study(path, wrong))


@pytest.mark.long
def test_the_report_has_a_row_for_each_that_was_searched(path: Path, ray_session: None) -> None:
    file = load_study(path)
    assert run_study(file, progress=Progress(quiet=True)).failures == []
    home = path.parent / "runs/screened"
    main = _rows(home / "report/tables/main.csv")
    linear = [row["checkpoint"] for row in main if row["protocol"] == "linear"]
    searched = [row["checkpoint"] for row in main if row["protocol"] == "finetune"]
    assert linear == ["base", "g", "other"]
    choices = _rows(home / "report/tables/choices.csv")
    screen = [row for row in choices if row["choice"] == "screen"]
    assert searched == [row["member"] for row in screen if row["chosen"]]
    assert len(searched) == 2
    assert searched[0] == "base"
    (out,) = [row["member"] for row in screen if not row["chosen"]]
    ranked = sorted((row for row in screen if row["rank"]), key=lambda row: -float(row["value"]))
    assert ranked[-1]["member"] == out
    page = (home / "report/index.html").read_text()
    assert f"Screened out: {out} ({float(ranked[-1]['value']):.3f})." in page
    finals = {p.relative_to(home).parts[1] for p in home.glob("cells/*/demo-tissue/finetune/*/*/*/final.parquet")}
    assert out not in finals
    if "g" in searched:
        assert len(list(home.glob("cells/g-*/demo-tissue/finetune/*/*/*/final.parquet"))) == 1, (
            "of the chosen point alone"
        )
        assert len(list(home.glob("cells/g-*/demo-tissue/finetune/*/*/*/journal"))) == 2
    _, _, found = status_rows(file)
    assert {row[1] for row in found} == {"done", "left out"}
    _, planned, notes = plan_rows(file)
    assert {row[2] for row in planned} <= {"exists", "screened out", "not chosen"}
    assert not any("choices are not made yet" in note for note in notes)
    assert unused(file) == []
    before = (home / "choices.parquet").read_bytes()
    assert run_study(file, progress=Progress(quiet=True)).failures == []
    assert (home / "choices.parquet").read_bytes() == before
