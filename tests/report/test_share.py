"""A copy that can be given away: no name of a unit in any byte, no picture, and every number can be recomputed."""

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.errors import RequestError, WorkError
from raysweep.report.neutral import Neutral
from raysweep.report.registration import record
from raysweep.report.seen import IMAGES, UNKNOWN, Seen
from raysweep.report.share import share_report
from raysweep.report.verify import verify
from raysweep.report.write import write_report
from raysweep.storage import Storage

from .fake_study import make_study, write_checkpoint

ODD = {"u007": "Müller, J.", "u009": "17", "u011": "TCGA-AB-1234"}  # names that units may have
TEXT = {".csv", ".md", ".tex", ".html", ".svg", ".json", ".txt"}


def renamed(table: pa.Table) -> pa.Table:
    for name in ("unit", "sample"):
        place = table.schema.get_field_index(name)
        values = [text.replace(old, new) for text in table[name].to_pylist()
                  for old, new in [next((p for p in ODD.items() if p[0] in text), ("-", "-"))]]  # fmt: skip
        table = table.set_column(place, name, pa.array(values))
    return table


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Units with odd names that stand in reasons, in what weights have seen, in a title and in a checkpoint."""
    root = tmp_path_factory.mktemp("secret-place")
    study = make_study(root, fractions=(1.0,), units=12, skills={"imagenet": 0.9, "simclr": 1.5, "lost": 0.3},
                       protocols=("finetune",))  # fmt: skip
    for cell in study.cells:
        for repeat in cell.repeats:
            file = ("predictions", f"{cell.task}.parquet")
            repeat.folder.write_table(renamed(repeat.folder.read_table(*file)), *file)
    study.question = "Is it TCGA-AB-1234?"
    seen = {"simclr": (Seen("tissue", IMAGES, "3 of 12 test patients are in tissue112: 17, Müller, J. and u003"),),
            "imagenet": (Seen("tissue", UNKNOWN, "its slides slide-000 are elsewhere"),)}  # fmt: skip
    study.cells = [replace(c, seen=seen.get(c.checkpoint, ())) for c in study.cells]
    why = f"cannot read {root}/images/u003/5.png (patient Müller, J.)"
    study.cells = [
        replace(c, repeats=(*c.repeats[:2], replace(c.repeats[2], status="failed", reason=why)))
        if c.checkpoint == "lost" else c for c in study.cells
    ]  # fmt: skip
    write_checkpoint(study.checkpoints["simclr"][0], method="simclr", sources=["slide-000", "P001", "u003"],
                     patches="0a1b2c3d" * 4, epochs=40)  # fmt: skip
    trials = study.cells[0].repeats[0].folder.read_table("trials.parquet")
    reasons = pa.array([None, None, None, f"no file {root}/u003.png"])
    trials = trials.set_column(trials.schema.get_field_index("reason"), "reason", reasons)
    study.cells[0].repeats[0].folder.write_table(trials, "trials.parquet")
    study.folder.write_table(trials, "cells/masks.parquet")  # nothing that a report knows of
    record(study.folder, study.compare)
    write_report(**vars(study))
    return study


@pytest.fixture(scope="module")
def shared(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "copy"
    share_report(study.folder, Storage.open(out))
    return out


def everything(folder: Path) -> dict[str, bytes]:
    """Every file, tables as the text of all that they hold and say of themselves."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            data += json.dumps([table.to_pylist(), str(table.schema.metadata)], ensure_ascii=False).encode()
        found[path.relative_to(folder).as_posix()] = data
    return found


def test_no_byte_says_the_name_of_a_unit_a_slide_or_the_place(study, shared):
    units = set()
    for cell in study.cells:
        for column in ("unit", "sample"):
            units |= set(cell.repeats[0].folder.read_table("predictions", f"{cell.task}.parquet")[column].to_pylist())
    slides = study.patch_sets["tissue112"].read_table("slides.parquet")
    names = units | set(slides["slide"].to_pylist()) | set(slides["patient"].to_pylist()) | {"secret-place", "Müller"}
    assert {"TCGA-AB-1234", "Müller, J.", "u003", "u003/9.png", "slide-000", "P001"} <= names
    for file, data in everything(shared).items():
        for name in names - {"17"}:  # it is a count too: see below
            assert name.encode() not in data, (file, name)
            assert name not in file
    for cell in study.cells:
        table = pq.read_table(shared / cell.repeats[0].path / f"predictions/{cell.task}.parquet")
        assert not any(name.startswith("17") for column in ("unit", "sample") for name in table[column].to_pylist())


def test_there_are_no_pictures(shared):
    files = everything(shared)
    assert {Path(name).suffix for name in files} == {*TEXT, ".parquet", ".safetensors"}
    assert b"data:image" not in files["report/index.html"]
    assert b"slide 1" in files["report/index.html"]
    assert max(len(data) for name, data in files.items() if name.endswith(".safetensors")) < 2000


def test_numbers_are_those_of_the_report_and_can_be_recomputed(study, shared):
    found = verify(shared)
    assert found.differences == []
    assert found.n_files == sum(r.status == "done" for c in study.cells for r in c.repeats)
    for name in ("results", "differences", "pairs", "per_class", "main", "search", "best"):
        ours, theirs = (_numbers(folder / f"report/tables/{name}.csv") for folder in (Path(study.folder.root), shared))
        assert [len(row) for row in ours] == [len(row) for row in theirs]
        for row, other in zip(ours, theirs, strict=True):
            for a, b in zip(row, other, strict=True):  # of reasons the names have changed
                if isinstance(a, float):
                    assert a == pytest.approx(b, rel=1e-6, abs=1e-7), (row, other)
                elif not a.startswith("lost: 2 of 3"):
                    assert a == b


def _numbers(file: Path) -> list[list[float | str]]:
    def number(text: str) -> float | str:
        try:
            return float(text)
        except ValueError:
            return text

    return [[number(text) for text in row] for row in csv.reader(io.StringIO(file.read_text()))]


def test_reasons_and_warnings_keep_their_sense(shared):
    page = (shared / "report/index.html").read_text()
    assert "3 of 12 test patients are in tissue112" in page
    assert "Is it unit " in page
    missing = (shared / "report/tables/missing.csv").read_text()
    assert "cannot read (a path) (patient unit " in missing
    assert "no file (a path)" in page
    assert json.loads((shared / "compare.json").read_text())[0]["compare"]["baseline"] == "imagenet"


def test_a_unit_has_one_name_everywhere_and_equal_inputs_give_equal_bytes(study, shared, tmp_path):
    def units(cell, root):
        return pq.read_table(f"{root}/{cell.repeats[1].path}/predictions/{cell.task}.parquet")["unit"].to_pylist()

    names: dict[str, set] = {}
    for cell in study.cells:
        before, after = units(cell, study.folder.root), units(cell, shared)
        counts = {name: before.count(name) for name in before}
        assert sorted(counts.values()) == sorted(after.count(name) for name in set(after))
        names.setdefault(cell.task, set()).update(after)
    assert names["tissue"] == names["glands"] == {f"unit {i + 1}" for i in range(12)}
    share_report(study.folder, Storage.open(tmp_path / "again"))
    assert everything(tmp_path / "again") == everything(shared)


def test_order_and_number_say_nothing_of_a_name():
    table = pa.table({"sample": ["a/1", "b/1", "c/1"], "unit": ["a", "b", "c"], "fold": [0, 0, 0], "label": [0, 1, 1],
                      "scores": [[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]]})  # fmt: skip
    first, second = Neutral(), Neutral()
    first.learn_predictions(table)
    other = {"a": "z", "b": "y", "c": "x"}
    swapped = table.set_column(1, "unit", pa.array([other[u] for u in table["unit"].to_pylist()]))
    second.learn_predictions(swapped)
    assert [first.unit(u) for u in "abc"] == [second.unit(other[u]) for u in "abc"]
    assert first.text("a and a/1 of C:\\x\\y.png, s3://b/c; 1/2") == (
        f"a and {first.image('a/1')} of (a path), (a path); 1/2"
    )


@settings(max_examples=25, deadline=None)
@given(st.lists(st.from_regex(r"[A-Z]{2}[-_. ]?[0-9]{2,3}", fullmatch=True), min_size=1, max_size=6, unique=True),
       st.lists(st.sampled_from(["", " ", "_", "x", "/", "(", ", ", "7"]), min_size=7, max_size=7))  # fmt: skip
def test_no_sentence_keeps_a_name_whatever_stands_around_it(units, between):
    table = pa.table({"sample": [f"{u}/img.png" for u in units], "unit": units, "fold": [0] * len(units)})
    names = Neutral()
    names.learn_predictions(table)
    said = names.text("why: " + "".join(a + b for a, b in zip(between, [*units, ""], strict=False)))
    assert not [unit for unit in units if unit in said]
    assert said.startswith("why: ")


def test_what_cannot_be_shared_is_refused(study, shared, tmp_path):
    with pytest.raises(RequestError, match="there is something in this folder already; name a new one"):
        share_report(study.folder, Storage.open(shared))
    with pytest.raises(RequestError, match="there is no report/told"):
        share_report(Storage.open(tmp_path / "nothing"), Storage.open(tmp_path / "out"))
    copy = Path(shutil.copytree(study.folder.root, tmp_path / "copy"))
    (copy / study.cells[0].repeats[0].path / "final.parquet").write_bytes(b"")
    with pytest.raises(WorkError, match=r"0/final.parquet: cannot be read \(ArrowInvalid\); nothing can be shared"):
        share_report(Storage.open(copy), Storage.open(tmp_path / "out"))
