"""The commands that use weights outside a study: `export` and `predict`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from raysweep.commands import new_progress

_Fold = Annotated[
    int | None, typer.Option(help="a cell whose task has folds: the fold whose model to take; default: the first")
]


def export(
    weights: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT|CELL",
            help="a folder below checkpoints/ or cells/ of a study's storage, such as "
            "runs/glands/cells/simclr/glas-grade/finetune/1",
        ),
    ],
    folder: Annotated[Path, typer.Option("--out", help="where to put model.safetensors and config.json")] = Path("."),
    fold: _Fold = None,
) -> None:
    """Give weights away: a checkpoint as timm loads it, or a cell's trained model with its preprocessing and card."""
    from raysweep.study.export import export as export_weights

    _say(str(export_weights(weights, folder, fold=fold)))


def predict(
    model: Annotated[str, typer.Argument(help="what `export` made of a cell, or the folder of a cell or repeat")],
    patches: Annotated[str, typer.Argument(help="a patch set's folder: below patches/ of a storage, or of `tile`")],
    table: Annotated[Path, typer.Option("--out", help="Parquet file to write: one row a patch")],
    geojson: Annotated[
        Path | None, typer.Option(help="QuPath file to write too; of several slides one each, NAME-SLIDE.geojson")
    ] = None,
    any_scale: Annotated[
        bool, typer.Option("--any-scale", help="resample patches whose um per pixel are over 10 % off the model's")
    ] = False,
    fold: _Fold = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: one for each CPU")] = None,
) -> None:
    """Score every patch of a set by a trained model, on a GPU where there is one."""
    from raysweep.study.predict import predict as score

    found = score(model, patches, table, geojson=geojson, any_scale=any_scale, fold=fold, threads=threads,
                  progress=new_progress())  # fmt: skip
    _say(f"{table}: {found.patches:,} patches")
    if found.geojson:
        more = f" and {len(found.geojson) - 1:,} more" if len(found.geojson) > 1 else ""
        _say(f"{found.geojson[0]}{more}: for QuPath")
    if found.failed:
        _say(f"{found.failed:,} patches could not be decoded (the first: {found.reason})")
        raise typer.Exit(3)


def _say(text: str) -> None:
    Console(highlight=False, soft_wrap=True).print(text, markup=False)
