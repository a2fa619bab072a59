"""A group of commands in which an interruption reaches the caller."""

from typing import Any

import typer
from typer.core import TyperGroup


class StoppedError(Exception):
    """A command was interrupted: in a form that Typer lets through."""


class Commands(TyperGroup):
    """Typer's group of commands, but for interruptions, which it would end with a word of its own."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, typer.Abort) as error:
            raise StoppedError from error
