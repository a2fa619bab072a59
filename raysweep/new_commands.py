"""The commands for an own folder of images: a first card of it, and a study that compares weights on it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from raysweep.errors import RequestError
from raysweep.local_path import local_path

_Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="the folder that the labelled images stand in")]
_Out = Annotated[Path, typer.Option("--out", help="the folder to write to; the images' own stays as it is")]
_Name = Annotated[str | None, typer.Option(help="what to call the set; default: as its folder")]
_Label = Annotated[str | None, typer.Option(help="the column of the folder's table that names the class")]
_Unit = Annotated[
    str | None,
    typer.Option(
        help="what images of one patient have in common: a column, or a pattern with a group, such as '(P[0-9]+)_'"
    ),
]
_Mpp = Annotated[float | None, typer.Option(min=0.001, help="um per pixel of the files")]


def new(
    folder: _Folder,
    more: Annotated[list[str] | None, typer.Argument(metavar="", hidden=True)] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="WEIGHTS...",
            help="what to compare, any number: imagenet, a published model (uni2-h), a full timm tag, a file "
            "of weights (or BACKBONE=FILE)",
        ),
    ] = None,
    out: _Out = Path("."),
    name: _Name = None,
    label: _Label = None,
    unit: _Unit = None,
    mpp: _Mpp = None,
) -> None:
    """Compare weights on a folder of labelled images: writes a card and a study, says what it costs and what to run.

    Labels are a folder for each class, images with masks beside them, or a CSV table with a row for each image.
    """
    from raysweep.study.load import load_study
    from raysweep.study.new import new_study
    from raysweep.study.plan import plan_rows

    wanted = [*(weights or []), *(more or [])]
    folder = local_path(folder, "FOLDER")
    if not folder.is_dir() and more and Path(more[-1]).is_dir():
        raise RequestError(f"new: {folder} is no folder; the folder comes first: raysweep new {more[-1]} --with ...")
    made = new_study(folder, wanted, out, name=name, label=label, unit=unit, mpp=mpp)
    _say(made.facts, made.warnings)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"card:  {made.card}\nstudy: {made.study}", markup=False)
    header, rows, notes = plan_rows(load_study(made.study))
    from raysweep.progress import print_table

    print_table(console, "plan", header, rows)
    for note in notes:
        console.print(note, markup=False)
    console.print(f"look at both files, then: raysweep run {made.study}", markup=False)


def datasets_new(
    folder: _Folder,
    out: _Out = Path("."),
    name: _Name = None,
    label: _Label = None,
    unit: _Unit = None,
    mpp: _Mpp = None,
) -> None:
    """A first card for a folder of labelled images, to be corrected: layout, classes, counts, units, splits."""
    from raysweep.study.new import new_card

    path, draft = new_card(folder, out, name=name, label=label, unit=unit, mpp=mpp)
    _say(draft.facts, draft.warnings)
    data = local_path(folder, "FOLDER").resolve().parent
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"card: {path}", markup=False)
    console.print(f"look at it, then: raysweep datasets prepare {draft.card.name} --data {data}", markup=False)


def _say(facts: list[str], warnings: list[str]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for line in facts:
        console.print(line, markup=False)
    for line in warnings:
        console.print(f"look at this: {line}", markup=False)
