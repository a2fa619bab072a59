"""One line of progress per stage: a live display on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

_PLAIN_SECONDS = 10.0  # between plain lines


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

    def resume(self, n: int) -> None:
        """`n` units were done before this stage began: they say nothing about its speed."""
        self.known += n
        self.advance(n)

    def note(self, text: str) -> None:
        """Show a line of its own, such as a failure and its reason."""
        self._show(self, note=text)

    def left(self) -> str:
        """About how long the rest takes, such as ` · 4 min left`; nothing while that cannot be told."""
        fresh = self.done - self.known
        if self.total is None or fresh <= 0 or self.done >= self.total:
            return ""
        seconds = (time.monotonic() - self.started) / fresh * (self.total - self.done)
        return f" · {seconds / 60:.0f} min left" if seconds >= 90 else f" · {seconds:.0f} s left"

    def details(self) -> str:
        """Rates and counts so far, such as `4.1 slides/s · 230 patches/s · 1 failed`."""
        seconds = max(time.monotonic() - self.started, 1e-3)
        parts = [f"{(self.done - self.known) / seconds:.3g} {self.unit}/s"]
        for name, value in self.counts.items():
            if name in ("failed", "skipped", "pruned"):
                parts += [f"{value:,} {name}"] if value else []
            elif name == "bytes":
                parts.append(f"{value / seconds / 1e6:,.3g} MB/s")
            else:
                parts.append(f"{value / seconds:,.3g} {name}/s")
        return " · ".join(parts)


class Progress:
    """Where stages show themselves. `quiet` shows nothing; `debug` lets unexpected errors through as tracebacks."""

    def __init__(self, console: Console | None = None, *, quiet: bool = False, debug: bool = False) -> None:
        self.console = console or Console(file=sys.stderr, highlight=False)
        self.quiet = quiet
        self.debug = debug

    def say(self, text: str) -> None:
        """One line, outside any stage."""
        if not self.quiet:
            _line(self.console, text)

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str) -> Iterator[Stage]:
        """Show a stage until the block ends; `total` None means unknown."""
        if self.quiet:
            yield Stage(name, total, unit, lambda stage, note=None: None)
        elif self.console.is_terminal:
            yield from self._live(name, total, unit)
        else:
            yield from self._plain(name, total, unit)

    def _live(self, name: str, total: int | None, unit: str) -> Iterator[Stage]:
        columns = (TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(),
                   TextColumn("{task.fields[details]}"), TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
        with Bars(*columns, console=self.console, refresh_per_second=4) as bars:
            row = bars.add_task(name, total=total, details="")

            def show(stage: Stage, note: str | None = None) -> None:
                if note:
                    _line(bars.console, note)
                bars.update(row, completed=stage.done, details=stage.details())

            yield Stage(name, total, unit, show)

    def _plain(self, name: str, total: int | None, unit: str) -> Iterator[Stage]:
        last = time.monotonic()

        def line(stage: Stage) -> str:
            of = f"/{stage.total}" if stage.total is not None else ""
            return f"{name}: {stage.done}{of} {unit} · {stage.details()}"

        def show(stage: Stage, note: str | None = None) -> None:
            nonlocal last
            if note:
                _line(self.console, note)
            if time.monotonic() - last >= _PLAIN_SECONDS:
                last = time.monotonic()
                _line(self.console, line(stage) + stage.left())

        stage = Stage(name, total, unit, show)
        _line(self.console, f"{name}: started" + (f", {total} {unit}" if total is not None else ""))
        yield stage
        seconds = time.monotonic() - stage.started
        _line(self.console, f"{line(stage)} · {seconds:.0f} s")


def _line(console: Console, text: str) -> None:
    """Print text as it is: names and reasons may hold brackets, and a log wants one line for one thing."""
    console.print(text, markup=False, soft_wrap=True)
