"""One line of progress per stage: a live display on a terminal, plain lines elsewhere, or events as JSON."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, ProgressColumn, Task
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from raysweep.json_log import log_event
from raysweep.secrets import without_secrets
from raysweep.stage_metrics import StageMetrics

_PLAIN_SECONDS = 10.0  # between plain lines
_BAR_WIDTH = 24
_LOG_WIDTH = 400  # characters of a table in a log; longer cells are folded
_WIDE = 120  # columns of a terminal that has room for a bar


class Stage:
    """Counts of one stage while it runs."""

    def __init__(self, name: str, total: int | None, unit: str, show) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.done = 0
        self.known = 0  # of those done, how many took no time
        self.counts: dict[str, int] = {}
        self.started = time.monotonic()
        self._show = show

    def advance(self, n: int = 1, **counts: int) -> None:
        """`n` more units of work are done; named counts (patches=256, failed=1) add up and show with their rate."""
        self.done += n
        for name, more in counts.items():
            self.counts[name] = self.counts.get(name, 0) + more
        self._show(self)

    def resume(self, n: int, **counts: int) -> None:
        """`n` units were done before this stage began, or take no time: they say nothing about its speed."""
        self.known += n
        self.advance(n, **counts)

    def note(self, text: str) -> None:
        """Show a line of its own, such as a failure and its reason."""
        self._show(self, note=text)

    def counted(self) -> str:
        """How far it is, such as `37/1000 slides`."""
        return f"{self.done}/{self.total} {self.unit}" if self.total is not None else f"{self.done} {self.unit}"

    def left(self) -> str:
        """About how long the rest takes, such as `4 min left`; nothing while that cannot be told."""
        fresh = self.done - self.known
        if self.total is None or fresh <= 0 or self.done >= self.total:
            return ""
        return f"{span(self._seconds() / fresh * (self.total - self.done))} left"

    def details(self) -> list[str]:
        """Rates and counts so far, such as `4.1 slides/s`, `230 patches/s`, `1 failed`, `after 12 s`."""
        seconds = max(self._seconds(), 1e-3)
        parts = [f"{_rate((self.done - self.known) / seconds)} {self.unit}/s"]
        for name, value in self.counts.items():
            if name in ("failed", "skipped", "pruned"):
                parts += [f"{value:,} {name}"] if value else []
            elif name == "bytes":
                parts.append(f"{_rate(value / seconds / 1e6)} MB/s")
            else:
                parts.append(f"{_rate(value / seconds)} {name}/s")
        return [*parts, f"after {span(seconds)}"]

    def numbers(self) -> dict[str, int | float | str | None]:
        """The same for machines: done, total (null: unknown), unit, seconds since it began, and the counts by name."""
        told = {"done": self.done, "total": self.total, "unit": self.unit, "seconds": round(self._seconds(), 3)}
        return {**told, **self.counts}

    def line(self, width: int | None = None) -> Text:
        """All of this in one line: the name, how far it is, the time left, and the details that `width` has room for.

        For a long name, which is cut, neither the count nor the time left is given up.
        """
        text = " · ".join(filter(None, [f": {self.counted()}", self.left()]))
        name = Text(self.name, "bold")
        if width is not None:
            name.truncate(max(1, width - cell_len(text)), overflow="ellipsis")
        for part in self.details():
            if width is not None and name.cell_len + cell_len(f"{text} · {part}") > width:
                break
            text += f" · {part}"
        return name.append(text, "not bold")

    def _seconds(self) -> float:
        return time.monotonic() - self.started


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def span(seconds: float) -> str:
    """Seconds in words, such as `80 s`, `4 min` or `2.1 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


class _Line(ProgressColumn):
    """The stage's line. Columns of their own would be cut in proportion, the time left as soon as the rest."""

    def render(self, task: Task) -> Text:
        stage, console, taken = (task.fields[name] for name in ("stage", "console", "taken"))
        return stage.line(console.width - taken)


class Progress:
    """Where stages show themselves: on a terminal, in a log of plain lines, or as events of JSON; all as Ray metrics.

    `quiet` shows nothing; `debug` lets unexpected errors through as tracebacks; `json` writes `log_event`s.
    """

    def __init__(
        self, console: Console | None = None, *, quiet: bool = False, debug: bool = False, json: bool = False
    ) -> None:
        self.console = console or Console(file=sys.stderr, highlight=False)
        self.quiet, self.debug, self.json = quiet, debug, json
        self._metrics = StageMetrics()

    def say(self, text: str) -> None:
        """One line, outside any stage."""
        self._tell("said", text)

    def failed(self, name: str, reason: str) -> None:
        """Something of a study came to nothing; the rest goes on."""
        self._metrics.failed(name)
        self._tell("failed", f"{name}: failed ({reason})")

    def _tell(self, what: str, text: str) -> None:
        if self.quiet:
            return
        if self.json:
            log_event(what, text=text)
        else:
            _line(self.console, text)

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str) -> Iterator[Stage]:
        """Show a stage until the block ends; `total` None means unknown."""
        render = self._quiet if self.quiet else self._json if self.json else self._plain
        if render == self._plain and self.console.is_terminal:
            render = self._live
        with contextmanager(render)(name, total, unit) as stage:
            self._measure(stage, now=True)
            yield stage
            self._measure(stage, now=True)

    def _measure(self, stage: Stage, *, now: bool = False) -> None:
        self._metrics.show(stage.name, stage.done, stage.total, stage.counts.get("failed", 0), now=now)

    def _stage(self, name: str, total: int | None, unit: str, show: Callable[[Stage, str | None], None]) -> Stage:
        """A stage that is shown in one way, and measured in any."""

        def shown(stage: Stage, note: str | None = None) -> None:
            show(stage, note)
            self._measure(stage)

        return Stage(name, total, unit, shown)

    def _quiet(self, name: str, total: int | None, unit: str) -> Iterator[Stage]:
        yield self._stage(name, total, unit, lambda stage, note: None)

    def _json(self, name: str, total: int | None, unit: str) -> Iterator[Stage]:
        last = time.monotonic()

        def show(stage: Stage, note: str | None) -> None:
            nonlocal last
            if note:
                log_event("note", name, text=note)
            if time.monotonic() - last >= _PLAIN_SECONDS:
                last = time.monotonic()
                log_event("progress", name, **stage.numbers())

        stage = self._stage(name, total, unit, show)
        log_event("started", name, total=total, unit=unit)
        yield stage
        log_event("ended", name, **stage.numbers())

    def _live(self, name: str, total: int | None, unit: str) -> Iterator[Stage]:
        bar = [BarColumn(_BAR_WIDTH)] if self.console.width >= _WIDE else []
        with Bars(_Line(), *bar, console=self.console, refresh_per_second=4) as bars:

            def show(stage: Stage, note: str | None) -> None:
                if note:
                    _line(bars.console, note)
                bars.update(row, completed=stage.done)

            stage = self._stage(name, total, unit, show)
            taken = _BAR_WIDTH + 1 if bar else 0
            row = bars.add_task(name, total=total, stage=stage, console=self.console, taken=taken)
            yield stage

    def _plain(self, name: str, total: int | None, unit: str) -> Iterator[Stage]:
        last = time.monotonic()

        def show(stage: Stage, note: str | None) -> None:
            nonlocal last
            if note:
                _line(self.console, note)
            if time.monotonic() - last >= _PLAIN_SECONDS:
                last = time.monotonic()
                _line(self.console, stage.line().plain)

        stage = self._stage(name, total, unit, show)
        _line(self.console, f"{name}: started" + (f", {total} {unit}" if total is not None else ""))
        yield stage
        _line(self.console, stage.line().plain)


def _line(console: Console, text: str) -> None:
    """Print text as it is: names and reasons may hold brackets, and a log wants one line for one thing."""
    console.print(without_secrets(text), markup=False, soft_wrap=True)


def print_table(out: Console, title: str, header: list[str], rows: list[list[str]]) -> None:
    """A table as wide as the terminal; a log or a pipe has no width to fit into."""
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in header:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(str(cell).replace("[", r"\[") for cell in row))
    if out.is_terminal:
        out.print(table)
    else:
        wide = Measurement.get(out, out.options.update(max_width=_LOG_WIDTH), table).maximum
        Console(width=wide, highlight=False).print(table)
