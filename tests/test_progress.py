import io

import pytest
from rich.console import Console

from raysweep.progress import Progress


def _log() -> tuple[Progress, io.StringIO]:
    out = io.StringIO()
    return Progress(Console(file=out, width=40)), out


def test_a_log_has_one_plain_line_for_one_thing() -> None:
    progress, out = _log()
    with progress.stage("tile", 3, "slides") as stage:
        stage.advance(patches=10)
        stage.note("broken [bold]slide[/bold]: failed (" + "x" * 80 + ")")
        stage.advance(2, patches=5, failed=1)
    lines = out.getvalue().splitlines()
    assert lines[0] == "tile: started, 3 slides"
    assert lines[1] == "broken [bold]slide[/bold]: failed (" + "x" * 80 + ")"
    assert lines[2].startswith("tile: 3/3 slides · ")
    assert "patches/s" in lines[2]
    assert "1 failed" in lines[2]
    assert len(lines) == 3


def test_a_terminal_shows_counts_and_notes() -> None:
    out = io.StringIO()
    progress = Progress(Console(file=out, width=100, force_terminal=True))
    with progress.stage("tile", None, "slides") as stage:
        stage.advance(2, skipped=1)
        stage.note("a note")
    assert "a note" in out.getvalue()
    assert "1 skipped" in out.getvalue()


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(quiet=True)
    progress.say("hello")
    with progress.stage("tile", 1, "slides") as stage:
        stage.advance()
        stage.note("a note")
    assert stage.done == 1
    printed = capsys.readouterr()
    assert printed.out + printed.err == ""
