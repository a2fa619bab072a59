"""Ray Data's warnings as lines of the program's own."""

import logging
import sys

import pytest
import ray.data  # sets up its logger

from raysweep.patches.shuffle.data_log import warnings_told

LOG = logging.getLogger("ray.data")
STALLED = logging.getLogger("ray.data._internal.execution.resource_manager")


def state() -> tuple[int, list[logging.Handler], list[list]]:
    return LOG.level, list(LOG.handlers), [list(handler.filters) for handler in LOG.handlers]


def test_each_warning_is_one_plain_line_and_all_is_as_it_was_then(capfd) -> None:
    assert ray.data
    before, told = state(), []
    LOG.setLevel(logging.DEBUG)
    level = LOG.level
    with warnings_told(told.append):
        assert not STALLED.isEnabledFor(logging.INFO), "notes of progress are not even made"
        STALLED.info("Starting execution")
        for seconds in (61.5, 122):
            STALLED.warning(f"\x1b[33mOperator Map[0x7f{seconds}a]\x1b[0m has no outputs for {seconds} seconds.\nSlow?")
        STALLED.error("disk full: spilled to %s", "/tmp/1")
    assert told == [
        "Ray Data: Operator Map[0x7f61.5a] has no outputs for 61.5 seconds. Slow?",
        "Ray Data: disk full: spilled to /tmp/1",
    ]
    assert LOG.level == level
    LOG.setLevel(before[0])
    assert state() == before
    assert capfd.readouterr().err == ""


def test_an_error_that_is_raised_is_not_told_here() -> None:
    told: list[str] = []
    with warnings_told(told.append):
        logging.getLogger("ray.data.exceptions").error("Exception occurred in user code")
        STALLED.error('An exception was raised from a task of operator "Map". Dataset execution will now abort.')
        try:
            raise ValueError("no")
        except ValueError:
            STALLED.exception("Full stack trace:")
        STALLED.warning("Found 3 issues. To disable issue detection, run ...")
        STALLED.warning("Progress bars disabled. To enable, set ...")
    assert told == []


def test_of_two_streams_the_last_is_told_and_the_first_to_end_leaves_the_other() -> None:
    before = state()
    one, other = [], []
    first, second = warnings_told(one.append), warnings_told(other.append)
    first.__enter__()
    second.__enter__()
    STALLED.warning("both run")
    first.__exit__(None, None, None)
    STALLED.warning("one runs")
    second.__exit__(None, None, None)
    assert (one, other) == ([], ["Ray Data: both run", "Ray Data: one runs"])
    assert state() == before


def test_a_line_that_cannot_be_shown_ends_nothing(monkeypatch) -> None:
    def refuse(line: str) -> None:
        raise OSError("no terminal")

    monkeypatch.setattr(logging, "raiseExceptions", False)
    with warnings_told(refuse):
        STALLED.warning("hm")


def test_long_warnings_are_cut() -> None:
    told: list[str] = []
    with warnings_told(told.append):
        STALLED.warning("word " * 500)
    assert len(told[0]) == 410
    assert told[0].endswith("…")


@pytest.fixture(autouse=True)
def _console():
    """A handler that writes to the terminal, as Ray Data's own does."""
    handler = logging.StreamHandler(sys.stderr)
    LOG.addHandler(handler)
    yield
    LOG.removeHandler(handler)
