"""Watch a search that another process runs: its cells, again and again, until it has ended."""

import time
from collections.abc import Sequence
from contextlib import nullcontext

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from raysweep.lease import holders
from raysweep.study.fates import Fates
from raysweep.study.graph import build_graph
from raysweep.study.load import load_study
from raysweep.study.search_progress import ENDED, LEFT_OUT, CellProgress, search_progress, time_left

_FIRST = ("running", "failed", "dead", "waiting", "done", LEFT_OUT)  # what a reader looks for, in the room there is


def watch_study(ref: str, overrides: Sequence[str], console: Console, *, seconds: float = 5.0) -> None:
    """Show every cell's search each so many seconds, until all is done or nobody runs the study.

    On a terminal the table is drawn over itself; elsewhere the lines that have changed are printed.
    """
    graph = build_graph(load_study(ref, overrides))
    before: list[str] = []
    with Live(console=console, auto_refresh=False) if console.is_terminal else nullcontext() as live:
        while True:
            running = bool(holders(graph.home))
            fates = Fates(graph.choices, graph.checkpoints)  # as they are by now
            found = search_progress(graph.cells, graph.study.transfer, graph.tasks, running=running, fates=fates)
            if live:
                live.update(_table(found, running, console.height), refresh=True)
            else:
                lines = [_headline(found, running), *(f"{c.name}: {c.state}, {c.words()}" for c in found)]
                for line in [line for line in lines if line not in before]:
                    console.print(line, markup=False, soft_wrap=True)
                before = lines
            if not running or all(cell.state in ENDED for cell in found):
                return
            time.sleep(seconds)


def _headline(found: Sequence[CellProgress], running: bool) -> str:
    told, planned = (sum(c.trials[i] for c in found) for i in (0, 1))
    parts = [
        f"{sum(c.state == 'done' for c in found)}/{sum(c.state != LEFT_OUT for c in found)} cells",
        f"{told}/{planned} trials",
        f"{sum(c.failed for c in found)} failed" if any(c.failed for c in found) else "",
        time_left(found),
        "" if running else "nobody is running it",
    ]
    return "search: " + " · ".join(filter(None, parts))


def _table(found: Sequence[CellProgress], running: bool, height: int) -> Group:
    """As many cells as the terminal has lines for, those first at which something happens."""
    room = max(3, height - 4)
    table = Table(header_style="bold", box=None, pad_edge=False)
    for column in ("cell", "state", "progress"):
        table.add_column(column, no_wrap=True, overflow="ellipsis")
    ordered = sorted(found, key=lambda cell: _FIRST.index(cell.state))
    for cell in ordered[:room]:
        table.add_row(*(text.replace("[", r"\[") for text in (cell.name, cell.state, cell.words())))
    if len(found) > room:
        table.add_row(f"... and {len(found) - room} more", "", "")
    return Group(Text(_headline(found, running)), table)
