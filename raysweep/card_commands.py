"""The commands about cards: of data sets and of published models."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from raysweep.commands import new_progress

datasets = typer.Typer(no_args_is_help=True, help="The dataset cards: list them, show one, prepare its files.")
checkpoints = typer.Typer(no_args_is_help=True, help="The published models that a checkpoint can start from.")

out = Console(highlight=False, soft_wrap=True)


@datasets.command("list")
def datasets_list() -> None:
    """Every card that ships with raysweep or stands in ./datasets."""
    from raysweep.study.cards import card_rows

    header, rows = card_rows()
    _table("datasets", header, rows)
    if any(row[header.index("licence")].endswith(" *") for row in rows):
        out.print("* to be accepted: raysweep datasets prepare NAME --accept-licence", markup=False)
    out.print("Terms, addresses and notes in full: raysweep datasets show NAME", markup=False)


@datasets.command("show")
def datasets_show(
    name: Annotated[str, typer.Argument(help="a card's name")],
    data: Annotated[
        Path | None,
        typer.Option(help="the folder that the set's own folder stands in; default: where it was prepared last"),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="also write a page with examples of each class")
    ] = None,
) -> None:
    """One card in full, and where its files are there: classes with counts, sizes, units, splits, pictures."""
    from raysweep.study.cards import card_text
    from raysweep.study.shown_card import show_card

    out.print(card_text(name), markup=False)
    lines, rows = show_card(name, data, pictures)
    if rows:
        _table(f"{name}: its files", ["what", "found"], rows)
    for line in lines:
        out.print(line, markup=False)


@datasets.command("prepare")
def datasets_prepare(
    name: Annotated[str, typer.Argument(help="a card's name")],
    data: Annotated[Path, typer.Option(help="the folder that the set's own folder stands in")],
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="you have read the licence and keep to it")
    ] = False,
    download: Annotated[
        bool,
        typer.Option(
            "--download", help="first fetch what is not there, or say which page gives it; goes on after Ctrl-C"
        ),
    ] = False,
) -> None:
    """Check a set against its card: what cannot be used, is passed by or is there twice. Record an accepted licence."""
    from raysweep.study.cards import prepare_card

    text, failed = prepare_card(name, data, accept_licence, download=download, progress=new_progress())
    out.print(text, markup=False)
    if failed:
        raise typer.Exit(3)


@checkpoints.command("list")
def checkpoints_list() -> None:
    """Every published model that has a card: `init: published:NAME` in a study."""
    from raysweep.study.models import model_rows

    _table("published models", *model_rows())


def _table(title: str, header: list[str], rows: list[list[str]]) -> None:
    from raysweep.progress import print_table

    print_table(out, title, header, rows)
