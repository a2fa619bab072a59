"""The commands that keep a study's folder and a machine in order: clean, doctor; and how commands name a study."""

import sys
from typing import Annotated

import typer
from rich.console import Console

from raysweep.errors import RequestError

out = Console(highlight=False, soft_wrap=True)

StudyArgument = Annotated[
    str, typer.Argument(metavar="STUDY.yaml", help="a study file, or the name of a study that ships with raysweep")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="overrides, such as transfer.trials=8 data=/images")
]


def clean(
    study: StudyArgument,
    overrides: Overrides = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="remove without asking")] = False,
    spool: Annotated[bool, typer.Option("--spool", help="also tiling results of slides whose sets are there")] = False,
) -> None:
    """List, and on confirmation remove, artefacts that the study as it stands does not use."""
    from raysweep.progress import print_table
    from raysweep.study.clean import remove, unused
    from raysweep.study.load import load_study

    file = load_study(study, overrides or [])
    found = unused(file, spool=spool)
    if not found:
        out.print("Nothing to remove: the study uses every artefact it has.")
        return
    print_table(
        out, "not used by the study as it stands", ["folder or file", "MB"], [[p, f"{b / 1e6:.1f}"] for p, b in found]
    )
    if not yes and not sys.stdin.isatty():
        raise RequestError("clean: there is no terminal to ask on; add --yes to remove these")
    if yes or typer.confirm(f"Remove these {len(found)}?"):
        remove(file, [p for p, _ in found])
        out.print(f"Removed {len(found)}.")


def doctor(storage: Annotated[str, typer.Option(help="the storage to check")] = "runs") -> None:
    """Check versions, GPU, Ray, storage and slide libraries, and say what to do about what is wrong."""
    from raysweep.progress import print_table
    from raysweep.study.doctor import checks

    rows = []
    for check in checks(storage):
        rows.append([{True: "ok", False: "WRONG", None: "note"}[check.ok], check.what, check.found, check.advice])
    print_table(out, "doctor", ["", "what", "found", "what to do"], rows)
    if any(r[0] == "WRONG" for r in rows):
        raise typer.Exit(1)
