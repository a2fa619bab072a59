"""The same events as people read them and as machines do."""

import io
import json
import logging
from typing import Any

import pytest
from rich.console import Console

from raysweep import progress as module
from raysweep.json_log import WarningEvents, log_event
from raysweep.progress import Progress


def _events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_each_event_is_a_line_with_its_numbers(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "_PLAIN_SECONDS", 0.0)
    progress = Progress(json=True)
    progress.say("Ray on this machine: 2 CPUs")
    with progress.stage("tile µ", 3, "slides") as stage:
        stage.advance(patches=10)
        stage.note("b: failed (s3://KEY:hush@bucket/b.svs is gone)")
        stage.advance(2, patches=5, failed=1)
    progress.failed("checkpoint x", "diverged")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.isascii()
    events = _events(printed.err)
    assert [(e["stage"], e["what"]) for e in events] == [
        (None, "said"), ("tile µ", "started"), ("tile µ", "progress"), ("tile µ", "note"), ("tile µ", "progress"),
        ("tile µ", "progress"), ("tile µ", "ended"), (None, "failed"),
    ]  # fmt: skip
    assert all(e["time"].endswith("+00:00") for e in events)
    assert {key: events[1][key] for key in ("total", "unit")} == {"total": 3, "unit": "slides"}
    last = {key: events[-2][key] for key in ("done", "total", "unit", "patches", "failed")}
    assert last == {"done": 3, "total": 3, "unit": "slides", "patches": 15, "failed": 1}
    assert events[-2]["seconds"] >= 0
    assert events[3]["text"] == "b: failed (s3://bucket/b.svs is gone)"
    assert events[-1]["text"] == "checkpoint x: failed (diverged)"


def test_plain_lines_tell_the_same() -> None:
    out = io.StringIO()
    progress = Progress(Console(file=out))
    progress.failed("checkpoint x", "s3://KEY:hush@bucket: gone")
    assert out.getvalue() == "checkpoint x: failed (s3://bucket: gone)\n"


def test_warnings_are_events(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("some.library")
    logger.addHandler(WarningEvents())
    logger.propagate = False
    logger.warning("state of step %d is %s", 3, "late")
    log_event("error", text="x", exit_code=2)
    warning, error = _events(capsys.readouterr().err)
    assert (warning["what"], warning["text"]) == ("warning", "some.library: state of step 3 is late")
    assert (error["what"], error["exit_code"], error["stage"]) == ("error", 2, None)
