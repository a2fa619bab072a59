"""Choices between checkpoints: what is searched, what is tested, and what is refused."""

import contextlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from raysweep.errors import RequestError
from raysweep.pretrain.spec import CheckpointSpec
from raysweep.storage import Artefact
from raysweep.study.fates import Fates
from raysweep.study.search_progress import search_progress
from raysweep.sweep.state import FAILED
from tests.study.choosing import Choosing
from tests.sweep.toy import Killed, events, outcome

Patch = pytest.MonkeyPatch


def _told(study: Choosing, checkpoint: str, task: str, number: int) -> float:
    """By hand: the mean over folds of the lowest val loss (too few units for the metric)."""
    (cell,) = (c for c in study.cells if (c.checkpoint, c.task, c.protocol) == (checkpoint, task, "toy"))
    values = [[e["value"] for e in events(cell, number, fold) if e["event"] == "told" and e["status"] == "done"]
              for fold in (0, 1)]  # fmt: skip
    return sum(map(min, values)) / 2


def _tables(study: Choosing) -> list[Any]:
    return [choice.artefact.folder.read_table("choices.parquet").to_pylist() for choice in study.choices]


def test_own_val_tests_the_point_that_each_repeat_finds_best(tmp_path: Path, monkeypatch: Patch) -> None:
    study = Choosing(tmp_path / "one", monkeypatch, checkpoints="abc", grids={"g": ("ab", "own_val")})
    first, second = study.tune()
    assert [line for line in first if "toy" in line and not line.endswith(" search")] == [f"c t0 toy {r}" for r in
                                                                                         range(2)]  # fmt: skip
    assert sum(line.endswith(" search") for line in first) == 4
    best = {r: min("ab", key=lambda name: _told(study, name, "t0", r)) for r in range(2)}
    assert sorted(second) == sorted(f"{best[r]} t0 toy {r}" for r in range(2)), "finals of the chosen alone"
    assert study.tested() == sorted([*(f"{best[r]} t0 {r}" for r in range(2)), *(f"c t0 {r}" for r in range(2))])
    assert len(study.tested("probe")) == 6, "of a frozen protocol the fit is the final"
    for table in _tables(study):
        number, protocol = table[0]["repeat"], table[0]["protocol"]
        assert sum(row["chosen"] for row in table) == 1
        if protocol == "toy":
            assert {row["member"]: row["value"] for row in table} == pytest.approx(
                {name: -_told(study, name, "t0", number) for name in "ab"}
            )
            assert [row["member"] for row in table if row["chosen"]] == [best[number]]
            assert {row["by"] for row in table} == {"minus val_loss"}
        else:
            assert [row["member"] for row in table if row["chosen"]] == ["b"]
            assert {row["by"] for row in table} == {"cross-validation by patient, 5 folds"}
    assert study.tune() == [], "the next run has nothing to do"
    fates = Fates(study.choices, study.checkpoints)
    found = {c.checkpoint: fates.shows(c, 0) for c in study.cells if c.protocol == "probe"}
    assert found == {"a": False, "b": True, "c": True}, "only the chosen one's test is shown"
    rows = search_progress(study.cells, study.study.transfer, study.tasks, running=False, fates=fates)
    words = {row.name: row.words() for row in rows if " / toy / " in row.name}
    assert {row.state for row in rows} <= {"done", "left out"}
    tests = {name: list(best.values()).count(name) for name in "ab"}
    for name, n in tests.items():
        line = next(text for label, text in words.items() if label.startswith(f"{name} / "))
        assert line.startswith(f"{n}/{n} repeats, 12/12 trials" if n else "no final, 12/12 trials")

    whole = Choosing(tmp_path / "two", monkeypatch, checkpoints="abc")
    assert len(whole.tune()) == 1
    prints = [[r.artefact.fingerprint for c in of.cells for r in c.repeats] for of in (study, whole)]
    assert prints[0] == prints[1], "a fingerprint does not depend on being chosen among"
    made = {(c.checkpoint, c.protocol): c for c in whole.cells}
    for cell in study.cells:
        for repeat, other in zip(cell.repeats, made[cell.checkpoint, cell.protocol].repeats, strict=True):
            if repeat.artefact.done():
                one, two = (outcome([replace(cell, repeats=(own,))]) for own in (repeat, other))
                assert one == two, "nor does what it holds"


@pytest.mark.parametrize("search", ["each", "once"])
def test_rank_others_never_looks_at_the_target(tmp_path: Path, monkeypatch: Patch, search: str) -> None:
    tasks = ("t0", "t1", "t2", "t3")
    study = Choosing(tmp_path, monkeypatch, grids={"g": ("abc", "rank_others")}, tasks=tasks, protocols=["toy"],
                     leave_out=[["t0", "t3"]], search=search)  # fmt: skip
    _, second = study.tune()
    chosen = {}
    for table, task in zip(_tables(study), tasks, strict=True):
        others = {"t0": {"t1", "t2"}, "t3": {"t1", "t2"}}.get(task, set(tasks) - {task})
        assert {row["ranked_on"] for row in table} == others, "neither itself nor the one that leaves with it"
        mean = {}
        for name in "abc":
            values = {
                other: [_told(study, name, other, 0 if search == "once" else r) for r in (0, 1)] for other in others
            }
            mean[name] = {other: sum(v) / 2 for other, v in values.items()}
        ranks = {name: sum(1 + sum(mean[rival][o] < mean[name][o] for rival in "abc") for o in others) / len(others)
                 for name in "abc"}  # fmt: skip
        assert {row["member"]: row["mean_rank"] for row in table} == pytest.approx(ranks)
        chosen[task] = min("abc", key=lambda name: ranks[name])
    assert sorted(second) == sorted(f"{name} {task} toy {r}" for task, name in chosen.items() for r in (0, 1))


def test_a_frozen_protocol_that_ranks_spares_the_searches_of_all_other_points(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    study = Choosing(tmp_path, monkeypatch, checkpoints="abcd", grids={"g": ("abc", "rank_others")}, choose_by="probe",
                     tasks=("t0", "t1", "t2"))  # fmt: skip
    fates = Fates(study.choices, study.checkpoints)
    assert {fates.of(c, 0) for c in study.cells if c.protocol == "toy" and c.checkpoint in "abc"} == {"waits"}
    first, second = study.tune()
    assert {line.split()[0] for line in first if " toy " in line} == {"d"}
    assert sorted(second) == sorted(f"c t{task} toy {r}" for task in range(3) for r in (0, 1)), "c is best by the probe"
    tables = {(c.task, c.protocol): table for c, table in zip(study.choices, _tables(study), strict=True)}
    for (task, protocol), table in tables.items():
        assert {row["ranked_on"] for row in table} == {"t0", "t1", "t2"} - {task}
        ranks = {row["member"]: row["mean_rank"] for row in table}
        assert ranks == {row["member"]: row["mean_rank"] for row in tables[task, "probe"]}, protocol
    assert study.tune() == []


def test_a_screen_spares_the_searches_of_those_that_it_does_not_keep(tmp_path: Path, monkeypatch: Patch) -> None:
    """c and d are the best by the probe, a is the baseline; g is a grid, which goes by its best point."""
    study = Choosing(tmp_path, monkeypatch, checkpoints="abcde", grids={"g": ("de", "screen")}, baseline="a",
                     screen={"protocol": "probe", "keep": 2})  # fmt: skip
    first, second = study.tune()
    assert sorted(first) == sorted(f"{name} t0 probe {r}" for name in "abcde" for r in (0, 1))
    assert sorted(second) == sorted(f"{name} t0 toy {r}" for name in "ace" for r in (0, 1))
    point, rows = _tables(study)
    assert [(row["member"], row["chosen"]) for row in point] == [("d", False), ("e", True)]
    assert [(row["member"], row["rank"], row["chosen"], row["n_repeats"]) for row in rows] == [
        ("a", None, True, 2), ("b", 3, False, 2), ("c", 2, True, 2), ("g", 1, True, 2)
    ]  # fmt: skip
    assert rows[3]["value"] == point[1]["value"]
    fates = Fates(study.choices, study.checkpoints)
    found = {c.checkpoint: fates.of(c, 1) for c in study.cells if c.protocol == "toy"}
    assert found == {"a": "all", "b": "screened out", "c": "all", "d": "screened out", "e": "all"}
    assert not any(r.artefact.folder.names() for c in study.cells for r in c.repeats
                   if c.protocol == "toy" and c.checkpoint in "bd"), "their cells are not made"  # fmt: skip
    states = search_progress(study.cells, study.study.transfer, study.tasks, running=False, fates=fates)
    assert [(s.state, s.reason, s.trials) for s in states if s.name.startswith("b / t0 / toy")] == [
        ("left out", "screened out", (0, 0))
    ]
    assert study.tune() == []


def test_a_grid_in_a_screen_is_searched_whole_and_then_chosen_from(tmp_path: Path, monkeypatch: Patch) -> None:
    study = Choosing(tmp_path, monkeypatch, checkpoints="abcd", grids={"g": ("cd", "own_val")}, baseline="a",
                     screen={"protocol": "probe", "keep": 1}, repeats=1)  # fmt: skip
    rounds = study.tune()
    assert [len(one) for one in rounds] == [4, 1 + 2, 1]
    assert {line.split()[0] for line in rounds[1] if line.endswith("search")} == {"c", "d"}


def test_killed_anywhere_the_choices_come_out_the_same(tmp_path: Path, monkeypatch: Patch) -> None:
    keys: dict[str, Any] = {
        "grids": {"g": ("bc", "own_val")},
        "baseline": "a",
        "screen": {"protocol": "probe", "keep": 1},
    }
    calm = Choosing(tmp_path / "calm", monkeypatch, **keys)
    calm.tune()
    for kill in (3, 11, 20, 31):
        with pytest.raises(Killed):
            Choosing(tmp_path / "killed", monkeypatch, **keys).tune(kill=kill)
    commit = Artefact.commit

    def die(artefact: Artefact, **parts: Any) -> None:
        if "/choices/" in artefact.home.root:
            raise Killed
        commit(artefact, **parts)

    lives = 0
    while True:
        killed = Choosing(tmp_path / "killed", monkeypatch, **keys)
        made = sum(choice.artefact.done() for choice in killed.choices)
        with monkeypatch.context() as patch:
            patch.setattr(Artefact, "commit", die)
            try:
                killed.tune()
            except Killed:
                lives += 1
            else:
                break
        killed = Choosing(tmp_path / "killed", monkeypatch, **keys)
        with monkeypatch.context() as patch:  # one choice gets through
            left = iter([True])
            patch.setattr(Artefact, "commit", lambda a, left=left, **parts: commit(a, **parts)
                          if "/choices/" not in a.home.root or next(left, False) else die(a, **parts))  # fmt: skip
            with contextlib.suppress(Killed):
                killed.tune()
        assert sum(choice.artefact.done() for choice in killed.choices) > made
    assert lives == 2, "the others were there before the search was killed"
    for one, other in zip(calm.choices, killed.choices, strict=True):
        files = [choice.artefact.folder.read_bytes("choices.parquet") for choice in (one, other)]
        assert files[0] == files[1]
        assert one.artefact.fingerprint == other.artefact.fingerprint
    assert killed.tested() == calm.tested()
    assert outcome(killed.cells) == outcome(calm.cells)


def test_a_choice_waits_for_all_and_fails_where_nobody_has_a_value(tmp_path: Path, monkeypatch: Patch) -> None:
    keys: dict[str, Any] = {"checkpoints": "ab", "grids": {"g": ("ab", "own_val")}, "protocols": ["toy"]}
    study = Choosing(tmp_path, monkeypatch, **keys)
    away = study.cells[1].repeats[1].weights[0]
    away.remove("manifest.json")
    (first,) = study.tune()
    assert len(first) == 2, "both repeats of b share their weights"
    assert study.tested() == []
    assert not any(choice.artefact.done() for choice in study.choices)
    fates = Fates(study.choices, study.checkpoints)
    waits = search_progress(study.cells, study.study.transfer, study.tasks, running=False, fates=fates)
    assert [(row.state, row.reason) for row in waits] == [
        ("waiting", "for the choice among its grid's points"),
        ("failed", "its checkpoint b could not be made"),
    ]
    away.write_json({}, "manifest.json")
    assert [len(one) for one in Choosing(tmp_path, monkeypatch, **keys).tune()] == [4, 2], "a is looked at again"

    none = Choosing(tmp_path / "none", monkeypatch, **keys, trials=1)
    broken = [cell.space | {"fails_above": 0.0} for cell in none.cells]
    for cell, space in zip(none.cells, broken, strict=True):
        object.__setattr__(cell, "space", space)
    none.tune()
    assert none.tested() == []
    reason = none.choices[0].artefact.folder.read_json(FAILED)["reason"]
    assert re.match(
        r"none of a, b has a value on val, so none can be chosen \(all 1 trials failed; the first: lr", reason
    )


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"grids": {"g": ("abc", "rank_others")}, "tasks": ("t0", "t1", "t2"), "choose_by": "toy"},
         r"checkpoints\.g\.choose_by: toy is no frozen protocol; use one of .*probe"),
        ({"grids": {"g": ("abc", "rank_others")}, "tasks": ("t0", "t1", "t2"), "choose_by": "probe",
          "protocols": ["toy"]}, r"checkpoints\.g\.choose_by: probe is not among transfer\.protocols; add it there"),
        ({"grids": {"g": ("abc", "rank_others")}, "tasks": ("t0", "t1")},
         r"checkpoints\.g\.choose: rank_others ranks on 2 unrelated other tasks at least, and for task t0 under toy "
         "there is only t1; add tasks, or take own_val"),
        ({"grids": {"g": ("abc", "rank_others")}, "tasks": ("t0", "t1", "t2"), "leave_out": [["t0", "t1", "t2"]]},
         "for task t0 under toy there is none"),
        ({"grids": {"g": ("bc", "rank_others")}, "tasks": ("t0", "t1", "t2"), "baseline": "a",
          "screen": {"protocol": "probe", "keep": 1}}, r"choose: rank_others needs the grid's searches on every task"),
        ({"grids": {"g": ("abc", "screen")}}, r"checkpoints\.g\.choose: screen needs the key transfer\.screen"),
        ({"screen": {"protocol": "toy", "keep": 1}, "baseline": "a"},
         r"transfer\.screen\.protocol: toy is no frozen protocol; use one of knn, linear, probe, svm"),
        ({"screen": {"protocol": "svm", "keep": 1}, "baseline": "a"},
         r"transfer\.screen\.protocol: svm is not among transfer\.protocols of classification; add it there"),
        ({"screen": {"protocol": "probe", "keep": 1}}, r"transfer\.screen: name the checkpoint that is never screened"),
        ({"screen": {"protocol": "probe", "keep": 3}, "baseline": "a"},
         r"transfer\.screen\.keep: 3 is more than the 2 checkpoints beside the baseline; lower it"),
    ],
)  # fmt: skip
def test_what_cannot_be_chosen_is_one_sentence(tmp_path: Path, monkeypatch: Patch, keys: dict, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        Choosing(tmp_path, monkeypatch, **keys)


def test_a_choice_needs_a_grid() -> None:
    with pytest.raises(ValidationError, match="choose takes one point of a grid: give a grid, or leave choose out"):
        CheckpointSpec.model_validate({"backbone": "resnet18", "choose": "own_val"})
