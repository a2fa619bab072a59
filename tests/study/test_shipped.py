"""The studies that ship, as `raysweep studies` lists them."""

import re

from typer.testing import CliRunner

from raysweep.cli import app
from raysweep.storage import shipped
from raysweep.study.grids import expand_grids
from raysweep.study.load import load_study
from raysweep.study.shipped import study_rows


def test_each_is_told_by_its_own_file() -> None:
    header, rows = study_rows()
    assert header == ["name", "question", "needs", "size", "cost"]
    assert [row[0] for row in rows] == sorted(path.stem for path in shipped("studies").glob("*.yaml"))
    for row in rows:
        assert all(row), f"{row[0]} lacks a question or what it is about"
        assert "?" in row[1] or row[1] == "(makes patch sets)"
    found = {row[0]: row[3] for row in rows}
    assert found["kawai_ptcga200"] == "1 patch set, 2 checkpoints, 1 pretraining, tasks of your own"
    assert "54 checkpoints, 250 pretrainings for each set that is left out, 10 tasks" in found["mormont2020"]


def test_the_command_prints_them() -> None:
    result = CliRunner().invoke(app, ["studies"])
    assert result.exit_code == 0
    assert "kataria2023-small" in result.output


def test_variants_keep_the_papers_question_and_say_that_they_are_small() -> None:
    for name in ("kawai2023", "mormont2020", "kataria2023"):
        of = {kind: str(load_study(f"{name}{kind}", ["data=."]).study.question) for kind in ("", "-small")}
        authors = rf"\({name[:-4].capitalize()} et al\. {name[-4:]}"
        assert re.search(rf"\? {authors}\)$", of[""])
        assert re.search(rf"\? {authors}, small variant\)$", of["-small"])


def test_the_grid_of_mormont_2020_is_its_48_points_and_5_seeds() -> None:
    study = load_study("mormont2020", ["data=."]).study
    points = [own for own in expand_grids(study.checkpoints).values() if own.grid.startswith("multitask")]
    told = {(own.spec.init, own.spec.lr, own.spec.options["head_lr_factor"], own.spec.options["warmup_steps"])
            for own in points}  # fmt: skip
    assert len(points) == len(told) == 48
    assert {own.spec.seeds for own in points} == {5}
    assert all(len(own.spec.sources) == 22 for own in points)
