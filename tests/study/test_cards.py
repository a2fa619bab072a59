"""What `raysweep datasets list` and `show` print."""

import io

import yaml
from rich.console import Console

from raysweep.progress import print_table
from raysweep.study.cards import card_rows, card_text


def rows_by_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAYSWEEP_HOME", str(tmp_path / "home"))
    header, rows = card_rows()
    assert header == ["name", "kind", "classes", "images", "units", "licence", "where to get it"]
    return {row[0]: row[1:] for row in rows}


def test_rows_say_what_there_is_and_where(monkeypatch, tmp_path):
    rows = rows_by_name(monkeypatch, tmp_path)
    assert len(rows) >= 40
    assert rows["umcm"] == ["classif.", "8", "5,000", "10 slides", "CC BY 4.0", "doi.org/10.5281/zenodo.53169"]
    assert rows["kumar"] == ["segment.", "2", "30", "30 patients", "CC BY-NC-SA 4.0 *", "github.com/vqdang/hover_net"]
    assert rows["pcam200"] == ["classif.", "2", "", "slides", "CC0", "github.com/enigmanx20/PatchTCGA"]
    assert rows["lc25000"][5] == "github.com/…/lung_colon_image_set"
    assert rows["glas"][4:] == ["research use only *", "warwick.ac.uk/…/glascontest"]
    assert rows["breakhis-40x"][5] == "web.inf.ufpr.br/…"
    assert rows["necrosis"][4:] == ["not public *", "not public"]
    assert rows["demo-tissue"][5] == "drawn by raysweep demo"


def test_the_table_fits_a_terminal_of_100_columns(monkeypatch, tmp_path):
    """No row takes more than two lines, and no line is longer."""
    monkeypatch.chdir(tmp_path)
    header, rows = card_rows()
    out = Console(width=100, file=io.StringIO(), force_terminal=True, color_system=None)
    print_table(out, "datasets", header, rows)
    lines = out.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) - 2 <= 2 * len(rows)
    starts = [at for at, line in enumerate(lines) if line.strip() and not line.startswith(" ")]
    assert max(b - a for a, b in zip(starts, [*starts[1:], len(lines)], strict=True)) <= 2


def test_a_card_in_full_has_its_address(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shown = yaml.safe_load(card_text("breakhis-40x"))
    assert "https://web.inf.ufpr.br/vri/databases/" in shown["source"]
    assert shown["n_images"] == 1995
