import io
import re

import pytest
from rich.console import Console

from raysweep.progress import Progress, Stage


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


def _stage(total: int | None = 1000, seconds: float = 100.0) -> Stage:
    """A stage that began some seconds ago."""
    stage = Stage("tile tissue", total, "slides", lambda stage, note=None: None)
    stage.started -= seconds
    return stage


def _shown(width: int, name: str) -> str:
    """The last state that a terminal shows, without its colours, of a stage 100 s old with 50 of 12,345 slides done."""
    out = io.StringIO()
    with Progress(Console(file=out, width=width, force_terminal=True)).stage(name, 12345, "slides") as stage:
        stage.started -= 100.0
        stage.advance(50, patches=23_000, bytes=4_000_000_000, failed=2, skipped=1)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()).replace("\r", "\n").splitlines()
    return [line for line in lines if line.strip()][-1]


def test_rates_count_what_was_done_since_the_stage_began() -> None:
    stage = _stage()
    stage.resume(600)
    assert stage.left() == ""  # nothing is known of the speed
    stage.advance(200, patches=23_000, bytes=4_200_000_000)
    stage.resume(1, failed=1)
    assert stage.counted() == "801/1000 slides"
    assert stage.details() == ["2 slides/s", "230 patches/s", "42 MB/s", "1 failed", "after 2 min"]
    assert stage.left() == "2 min left"
    assert stage.line().plain == (
        "tile tissue: 801/1000 slides · 2 min left · 2 slides/s · 230 patches/s · 42 MB/s · 1 failed · after 2 min"
    )


@pytest.mark.parametrize(
    ("done", "total", "left"),
    [
        (0, 1000, ""),
        (1000, 1000, ""),
        (10, None, ""),
        (900, 1000, "11 s left"),
        (100, 1000, "15 min left"),
        (10, 1000, "2.8 h left"),
    ],
)
def test_the_time_left(done: int, total: int | None, left: str) -> None:
    stage = _stage(total)
    stage.advance(done)
    assert stage.left() == left


@pytest.mark.parametrize(
    "name", ["tile kawai_segpanda200", "tile " + "a_patch_set_of_a_very_long_name_" * 3, "tile 病理切片" * 9]
)
def test_a_narrow_terminal_keeps_the_count_and_the_time_left(name: str) -> None:
    for width in (45, 60, 80, 100):
        line = _shown(width, name)
        assert ": 50/12345 slides · 6.8 h left" in line
        assert line.startswith("tile ")
        assert "━" not in line
    assert "0.5 slides/s" in _shown(80, "tile kawai_segpanda200")


def test_a_wide_terminal_shows_everything_and_a_bar() -> None:
    line = _shown(160, "tile kawai_segpanda200")
    assert line.startswith(
        "tile kawai_segpanda200: 50/12345 slides · 6.8 h left · 0.5 slides/s · 230 patches/s · 40 MB/s · 2 failed · "
        "1 skipped · after 2 min"
    )
    assert "━" in line


def test_a_log_tells_the_time_left_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("raysweep.progress.time.monotonic", lambda: now)
    progress, out = _log()
    with progress.stage("shuffle tissue", 40, "shards") as stage:
        for _ in range(8):
            now += 4.0
            stage.advance(2)
    assert out.getvalue().splitlines()[1:] == [
        "shuffle tissue: 6/40 shards · 68 s left · 0.5 shards/s · after 12 s",
        "shuffle tissue: 12/40 shards · 56 s left · 0.5 shards/s · after 24 s",
        "shuffle tissue: 16/40 shards · 48 s left · 0.5 shards/s · after 32 s",
    ]
