"""Slides, checkpoints and costs: what is read of the other stages' files."""

import json

import pyarrow as pa
import pytest

from raysweep.report.checkpoints import checkpoint_table
from raysweep.report.costs import read_costs
from raysweep.report.paths import paths_table
from raysweep.report.rows import read_rows
from raysweep.report.seen import IMAGES, LABELS, NONE, UNKNOWN, Seen
from raysweep.report.slides import MOST_OVERLAYS, read_slides
from raysweep.storage import Storage

from .fake_study import classification, make_cell, with_status, write_cell, write_checkpoint, write_slides


@pytest.fixture
def home(tmp_path):
    return Storage.open(tmp_path)


def test_failed_slides_go_first_and_overlays_are_few_and_small(home):
    write_slides(home.at("p"), done=15, failed=2)
    found = read_slides({"tissue": home.at("p"), "later": home.at("q")})
    assert [row[2] for row in found.table.rows] == ["failed"] * 2 + ["done"] * 15
    assert "no mpp" in found.table.rows[0][3]
    assert found.summaries == ["tissue: 17 slides (15 done, 2 failed), 1,905 patches.", "later: not tiled yet."]
    assert (len(found.overlays), found.without_overlay_shown) == (MOST_OVERLAYS, 3)
    assert all(o.data.startswith("data:image/jpeg;base64,") and len(o.data) < 60_000 for o in found.overlays)


def test_a_damaged_slide_table_or_overlay_is_survived(home):
    write_slides(home.at("p"), done=2, failed=0)
    home.at("p").write_bytes(b"no picture", "overlays", "slide-000.jpg")
    home.at("q").write_bytes(b"no table", "slides.parquet")
    found = read_slides({"p": home.at("p"), "q": home.at("q")})
    assert [o.slide for o in found.overlays] == ["slide-001"]
    assert found.summaries[1].startswith("q: its slide table cannot be read")


def test_checkpoints_say_where_they_come_from(home):
    first = {"backbone": "resnet50", "init": "timm:resnet50.tv_in1k"}
    write_checkpoint(home.at("a"), init="checkpoint:ffff", method="simclr", patches="1a2b3c4d5e", epochs=40, mpp=0.5,
                     licence="MIT", parents=[first], sources=["s9"])  # fmt: skip
    home.at("c").write_bytes(b"\x00", "backbone.safetensors")
    home.at("c").write_bytes(b"{}", "manifest.json")
    seen = (Seen("glands", LABELS, "2 of 3 test patients are in tissue: u1, u2"),)
    cells = [
        make_cell(home, "ours", "glands", "segmentation", "finetune", fraction, seen=seen) for fraction in (0.1, 1)
    ]
    silent = [Seen("glands", UNKNOWN, "it is not said"), Seen("a", NONE), Seen("b", IMAGES, "all"), Seen("c", NONE)]
    cells += [make_cell(home, "none", s.test_set, "classification", "finetune", 1.0, seen=(s,)) for s in silent]
    table, leaks = checkpoint_table(
        {"ours": [home.at("a"), home.at("missing")], "none": [home.at("missing")], "broken": [home.at("c")]},
        cells,
        {"tissue": home.at("patches/tissue/1a2b3c4d")},
    )
    ours, none, broken = (dict(zip(table.headers, row, strict=True)) for row in table.rows)
    assert ours["lineage"] == "timm:resnet50.tv_in1k → simclr on tissue"
    assert ours["patch set"] == "tissue"
    assert (ours["licence"], ours["epochs"], ours["um/px"]) == ("MIT", "40", "0.5")
    assert ours["status"] == "not finished (1 of 2)"
    assert none["status"] == "not finished"
    assert "not a file written by raysweep" in broken["status"]
    assert ours["seen"] == "labels seen: glands (2 of 3 test patients are in tissue: u1, u2)"
    assert none["seen"] == "images seen unlabelled: b (all); unknown: glands (it is not said); none found: a, c"
    assert broken["seen"] == ""
    assert leaks == [
        "ours was taught with labels of glands (2 of 3 test patients are in tissue: u1, u2): its values there are not "
        "those of unseen patients."
    ]


def test_what_a_file_was_allowed_to_lack_is_said(home):
    for name, counts in {
        "whole": {"missing_keys": [], "stray_keys": [], "dropped_keys": ["fc.weight"]},
        "lacks": {"missing_keys": ["norm.weight", "norm.bias"], "stray_keys": []},
        "more": {"missing_keys": [], "stray_keys": [f"blocks.{i}.x" for i in range(7)]},
    }.items():
        write_checkpoint(home.at(name), allow_missing=["*"])
        home.at(name).write_json({"fingerprint": "0", "counts": counts}, "manifest.json")
    _, said = checkpoint_table({name: [home.at(name)] for name in ("whole", "lacks", "more")}, [], {})
    assert said == [
        "2 parameters of lacks were not in its file (allow_missing): norm.weight, norm.bias.",
        "7 parameters in the file of more were left out (allow_missing): blocks.0.x, blocks.1.x, blocks.2.x, "
        "blocks.3.x, blocks.4.x and 2 more.",
    ]


def test_frozen_protocols_have_no_trials_and_show_what_they_chose_on_their_path(home):
    cell = make_cell(home, "a", "t", "classification", "svm", 1.0, repeats=3)
    write_cell(home, cell, [classification(i, units=6, images=2, skill=1.0) for i in range(3)], search="none")
    for repeat, chosen in zip(cell.repeats, (1.0, 1.0, 0.01), strict=True):
        repeat.folder.write_table(pa.table({"status": [], "reason": [], "trial_seconds": []}), "trials.parquet")
        final = repeat.folder.read_table("final.parquet")
        path = [{"fold": 0, "setting": json.dumps({"C": C}), "val_metric": 0.5 + 0.1 * (chosen == C)}
                for C in (0.0001, 0.01, 1.0)]  # fmt: skip
        own = {
            "params": [json.dumps({"C": chosen})],
            "edge": ["C" if chosen == 1 else ""],
            "chosen_by": ["cross-validation by patient, 5 folds"],
            "evaluations": path,
        }
        for name, value in own.items():
            kept = final.drop_columns([name] if name in final.column_names else [])
            final = kept.append_column(name, pa.array([value] * len(final)))
        repeat.folder.write_table(final, "final.parquet")
    other = make_cell(home, "a", "t", "classification", "finetune", 1.0, repeats=1)
    write_cell(home, other, [classification(0, units=6, images=2, skill=1.0)])
    rows, known = read_rows([cell, other], None)
    first, second = read_costs(known, rows).table.rows
    assert first[4:] == ["no trials", "", "", "", "3", "0.3"]
    assert second[4] == "4"
    assert paths_table(known).rows == [
        ["a", "t", "svm", "100 %", "C 0.0001 … C 1", "C 0.01 (1), C 1 (2)", "2 of 3", "0.600",
         "cross-validation by patient, 5 folds"]
    ]  # fmt: skip


def test_costs_are_summed_over_cells(home):
    cells = [make_cell(home, name, "t", "classification", "finetune", 1.0, repeats=2) for name in ("a", "b", "c")]
    tables = [classification(i, units=6, images=2, skill=1.0) for i in range(2)]
    for cell in cells[:2]:
        write_cell(home, cell, tables)
    rows, known = read_rows([*cells[:2], with_status(cells[2], "waiting")], None)
    found = read_costs(known, rows)
    assert [row[0] for row in found.table.rows] == ["a", "b"]
    assert found.table.rows[0][4:] == ["8", "2", "2", "2.0", "2", "0.2"]
    assert found.totals == ["16", "4", "4", "4.1", "4", "0.4"]
    assert found.failures == [("the loss is nan", 4)]
