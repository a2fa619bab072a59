"""What commands have in common: an interruption reaches the caller, and progress is told as they are asked to."""

from typing import Any

import typer
from typer.core import TyperGroup

OPTIONS = {"debug": False, "json": False}  # those of `raysweep` itself, as it was started


class StoppedError(Exception):
    """A command was interrupted: in a form that Typer lets through."""


class Commands(TyperGroup):
    """Typer's group of commands, but for interruptions, which it would end with a word of its own."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, typer.Abort) as error:
            raise StoppedError from error


def new_progress() -> Any:
    """Where a command shows its progress: as `--log` and `--debug`, options of `raysweep` itself, say."""
    from raysweep.progress import Progress

    return Progress(debug=OPTIONS["debug"], json=OPTIONS["json"])
