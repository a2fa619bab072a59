"""What the report says of choices."""

from pathlib import Path

import pyarrow as pa

from raysweep.report.choices import read_choices
from raysweep.report.share import share_report
from raysweep.report.verify import verify
from raysweep.report.write import write_report
from raysweep.storage import Storage
from raysweep.study.decide import _SCHEMA
from tests.report.fake_study import make_study

_NO = {"grid": "", "rule": "screen", "task": "tissue", "protocol": "linear", "fraction": 1.0, "repeat": None,
       "ranked_on": "tissue", "n_repeats": 3, "n_folds": 1, "by": "cross-validation by patient, 5 folds"}  # fmt: skip


def _choice(folder: Path, name: str, members: list[tuple], **keys: object) -> Storage:
    """`members`: name, value, rank, chosen."""
    rows = [_NO | {"member": m, "value": v, "rank": r, "mean_rank": r, "chosen": c} | keys for m, v, r, c in members]
    home = Storage.open(folder / name)
    home.write_table(pa.Table.from_pylist(rows, _SCHEMA), "choices.parquet")
    return home


def test_a_screen_and_each_grid_have_a_sentence(tmp_path: Path) -> None:
    screen = _choice(tmp_path, "s", [("base", 0.8, None, True), ("b", 0.85, 2.0, True), ("a", 0.91, 1.0, True),
                                     ("c", None, 4.0, False), ("d", 0.7, 3.0, False)])  # fmt: skip
    own = [_choice(tmp_path, f"g{i}", [("g-x", 0.5, 1 + i, not i), ("g-y", 0.5, 2 - i, bool(i))], grid="g",
                   rule="own_val", repeat=i) for i in (0, 1)]  # fmt: skip
    found = read_choices([screen, *own])
    assert found.screened == [
        "tissue: checkpoints were screened by linear at 100 % (cross-validation by patient, 5 folds, mean of 3 "
        "repeats), before any search or test and once for all repeats and fractions. Searched: a (0.910), b (0.850), "
        "beside the baseline base (0.800). Screened out: d (0.700), c (no value)."
    ]
    assert found.chosen == [
        "g: of the 2 points of its grid, for each repeat of each cell the one with the best value on that repeat's own "
        "validation: g-x (1), g-y (1) of 2. Every point was searched under the full budget; only the chosen one's test "
        "is shown."
    ]
    folded = read_choices([_choice(tmp_path, "f", [("b", 0.8, 1.0, True)], n_folds=4)])
    assert " Nobody was screened out. The task is in folds: what one fold tests, others train on" in folded.screened[0]
    assert len(found.table.rows) == found.rows.num_rows == 9
    assert found.table.rows[0][:7] == ["screen", "screen", "tissue", "linear", "100 %", "all", "base"]


def test_choices_stand_on_the_page_and_beside_the_results(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", fractions=(1.0,), repeats=2, units=8, tasks=("tissue",))
    screen = _choice(tmp_path, "s", [("imagenet", 0.8, None, True), ("simclr", 0.9, 1.0, True),
                                     ("<x>", 0.1, 2.0, False)])  # fmt: skip
    report = write_report(**vars(study), choices=[screen])
    page = report.read_bytes("index.html").decode()
    assert page.index("Screened out: &lt;x&gt; (0.100).") < page.index('id="values"')
    assert page.count('id="choices"') == 1
    assert report.read_bytes("tables", "choices.csv").decode().count("\n") == 4
    assert study.folder.read_table("choices.parquet").num_rows == 3
    assert verify(study.folder.root).differences == []
    share_report(study.folder, Storage.open(tmp_path / "copy"))
    assert verify(tmp_path / "copy").differences == []
    write_report(**vars(study))
    assert not study.folder.exists("choices.parquet")
    assert "#choices" not in report.read_bytes("index.html").decode()
