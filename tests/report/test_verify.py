"""A report is recomputed from prediction files; whatever was altered is named."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from raysweep.cli import main
from raysweep.errors import RequestError, WorkError
from raysweep.report.told import read_told
from raysweep.report.verify import Verified, verify
from raysweep.report.write import write_report
from raysweep.storage import Storage

from .fake_study import make_study


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A finished study with its report, to be copied and spoiled."""
    study = make_study(tmp_path_factory.mktemp("verify"), fractions=(1.0,), units=12,
                       skills={"imagenet": 0.9, "simclr": 1.5}, protocols=("finetune",))  # fmt: skip
    write_report(**vars(study))
    return Path(study.folder.root)


@pytest.fixture
def copy(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "elsewhere"))


def altered(path: Path, column: str, row: int, change) -> None:
    """Change one entry of a Parquet file."""
    folder = Storage.open(path.parent)
    table = folder.read_table(path.name)
    values = table[column].to_pylist()
    values[row] = change(values[row])
    place = table.schema.get_field_index(column)
    changed = table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))
    folder.write_table(changed, path.name)


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


REPEAT = "cells/simclr/tissue/finetune/1/0a1b2c3d/0"


def test_an_untouched_study_agrees_wherever_it_was_copied(copy):
    """By the command, in a process of its own: without torch and Ray."""
    program = (
        "import sys; from raysweep.cli import main; sys.argv[1:1] = ['verify']\n"
        "try: main()\n"
        "except SystemExit as stop: code = stop.code\n"
        "print(sorted({'torch', 'ray', 'timm', 'optuna'} & set(sys.modules))); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(copy)], capture_output=True, text=True, check=False)
    sentence, modules = done.stdout.splitlines()
    assert (done.returncode, done.stderr, modules) == (0, "", "[]")
    found = re.fullmatch(
        r"(\d+|\d,\d+) numbers of (\d+) tables and (\d+) on the page and in figures recomputed from 12 prediction "
        r"files: all agree", sentence
    )  # fmt: skip
    assert int(found[1].replace(",", "")) > 400
    assert int(found[2]) == len(list((copy / "report/tables").glob("*.csv")))
    assert int(found[3]) > 200


def test_one_altered_prediction_is_named_in_every_number_that_it_is_in(copy):
    altered(copy / REPEAT / "predictions/tissue.parquet", "scores", 3, lambda old: old[::-1])
    found = verify(copy).differences
    assert found[0].startswith(f"{REPEAT}/final.parquet, row balanced_accuracy on tissue, column value: 0.")
    assert "is written, 0." in found[0]
    assert found[0].endswith("recomputed from predictions/tissue.parquet")
    files = {line.split(",")[0] for line in found}
    assert {"results.parquet", "report/tables/results.csv", "report/tables/differences.csv", "report/tables/main.md",
            "report/tables/per_class.tex", "report/index.html"} <= files  # fmt: skip
    assert any(line.startswith("report/tables/results.csv, row ") and "(tissue, tissue, finetune, 1, simclr, balanced"
               in line and ", column value: 0." in line for line in found)  # fmt: skip
    assert not any("glands" in line for line in found if line.startswith("results.parquet"))


def test_altered_numbers_of_finals_are_named(copy):
    folders = [f"cells/{name}/tissue/finetune/1/0a1b2c3d/0" for name in ("imagenet", "simclr")]
    altered(copy / folders[0] / "final.parquet", "value", 0, lambda old: old / 2)
    altered(copy / folders[1] / "final.parquet", "n_test_units", 0, lambda old: 2 * old)
    altered(copy / folders[1] / "final.parquet", "per_class", 0, lambda old: [0.5, old[1]])
    found = verify(copy).differences
    assert [line.partition(":")[0] for line in found] == [
        f"{folders[i]}/final.parquet, row balanced_accuracy on tissue, column {column}"
        for i, column in ((0, "value"), (1, "n_test_units"), (1, "per_class"))
    ]
    assert "24 is written, 12 recomputed from predictions/tissue.parquet" in found[1]


def test_a_value_without_predictions_is_named(copy):
    altered(copy / REPEAT / "final.parquet", "predictions", 0, lambda _: "")
    assert "recomputed from no predictions" in verify(copy).differences[0]


def test_altered_numbers_of_printed_files_are_named(copy):
    tables = copy / "report/tables"
    first = (tables / "results.csv").read_text().splitlines()[1].split(",")
    replaced(tables / "results.csv", f",{first[6]},", ",0.987654,")
    altered(copy / "results.parquet", "value", 5, lambda old: old + 0.001)
    page = (copy / "report/index.html").read_text()
    shown = page[page.index('id="values"') :].split("★ ")[1][:5]
    replaced(copy / "report/index.html", f"★ {shown}", "★ 0.999")
    replaced(copy / "report/figures/values-glands-finetune.svg", "Dice", "Dise")
    replaced(tables / "pairs.tex", "0.", "1.")
    lines = (tables / "pairs.csv").read_text().splitlines(keepends=True)
    (tables / "pairs.csv").write_text("".join(lines[:-1]))
    (tables / "best.md").unlink()
    (tables / "more.csv").write_text("a\n1\n")
    found = verify(copy)
    rows, best, more, pairs, tex, csv, figure, shown_page = found.differences
    assert rows.startswith("results.parquet, row 6 (")
    assert ", column value: 0." in rows
    assert best == "report/tables/best.md: is missing"
    assert more == "report/tables/more.csv: nothing in this folder gives it"
    assert pairs == f"report/tables/pairs.csv: {len(lines) - 2} rows are printed, {len(lines) - 1} recomputed"
    assert tex.startswith("report/tables/pairs.tex, line ")
    assert csv == (
        f"report/tables/results.csv, row 1 ({', '.join(first[:6])}), column value: 0.987654 is printed, {first[6]} "
        "recomputed"
    )
    assert figure.startswith("report/figures/values-glands-finetune.svg, line ")
    assert f"★ 0.999 is printed, ★ {shown}" in shown_page
    assert found.sentence.endswith("prediction files: 8 differences, listed above")


def test_what_a_report_rests_on_must_be_whole(copy):
    (copy / REPEAT / "predictions/tissue.parquet").unlink()
    (copy / "cells/imagenet/glands/finetune/1/0a1b2c3d/2/final.parquet").write_bytes(b"no table")
    altered(copy / "cells/imagenet/tissue/finetune/1/0a1b2c3d/1/predictions/tissue.parquet", "scores", 0,
            lambda old: old[:1])  # fmt: skip
    found = verify(copy)
    a, b, c = sorted(found.differences)
    assert a == "cells/imagenet/glands/finetune/1/0a1b2c3d/2/final.parquet: cannot be read (ArrowInvalid)"
    assert b.endswith("1/predictions/tissue.parquet: cannot be read (ValueError)")
    assert c == f"{REPEAT}/predictions/tissue.parquet: is missing"
    assert "so it was not made again" in found.sentence


def test_what_is_no_report_is_refused(copy, tmp_path):
    with pytest.raises(RequestError, match=r"there is no report/told.json in it; name a study's folder"):
        verify(tmp_path)
    (copy / "report/told.json").write_text("{}")
    with pytest.raises(WorkError, match=r"told.json: cannot be read \(KeyError\)"):
        verify(copy)


def test_a_report_of_another_version_says_so():
    assert Verified([], n_files=1, version="9.0").sentence.startswith("0 numbers of 0 tables and 0 on the page")
    assert "all agree (the report is by raysweep 9.0, this is" in Verified([], n_files=1, version="9.0").sentence


def test_what_was_told_comes_back(copy, written):
    told = read_told(Storage.open(copy))
    again = read_told(Storage.open(written))
    assert told.compare == again.compare
    assert [c.path for c in told.cells] == [c.path for c in again.cells]
    assert told.cells[0].repeats[0].folder.root == f"{copy}/{told.cells[0].repeats[0].path}"
    assert str(written) not in (copy / "report/told.json").read_text()
    assert hash(told.cells[0].metrics) == hash(again.cells[0].metrics)


def test_the_command_ends_with_1_where_something_differs(copy, monkeypatch, capsys):
    (copy / "compare.json").write_text("[")
    monkeypatch.setattr(sys, "argv", ["raysweep", "verify", str(copy / "report")])
    with pytest.raises(SystemExit) as stop:
        main()
    said = capsys.readouterr()
    assert stop.value.code == 1
    assert said.out == "compare.json: cannot be read (JSONDecodeError)\n"
    assert said.err.startswith("raysweep: files that the report rests on are missing or damaged")
