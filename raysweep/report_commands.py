"""Reports beside a study's own: of several studies, to give away, and recomputed (`verify`)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.console import Console

from raysweep.errors import RequestError, WorkError


def verify(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="a study's folder, its report/, or what `report --share` wrote")
    ],
) -> None:
    """Recompute every printed number from the prediction files alone: needs no study file, no weights and no slides.

    Each number that differs is a line: file, row, column, what is printed and what comes out. Exit code 1 when any
    differs, or a file is missing or damaged.
    """
    from raysweep.report.verify import verify as verify_report

    out = Console(highlight=False, soft_wrap=True)
    found = verify_report(folder)
    for line in found.differences:
        out.print(line, markup=False)
    if found.differences:
        raise WorkError(found.sentence)
    out.print(found.sentence, markup=False)


def make_reports(make: Callable[[str], Any], studies: Sequence[str], out: str | None, share: str | None) -> Any:
    """The outcome of making the report of one study, or that of several together; and a copy to give away.

    make: makes the report of a study and returns its outcome. out: of several studies the folder of their report.
    """
    from raysweep.report.merge import check_merged, merge_reports
    from raysweep.report.share import check_free, share_report
    from raysweep.storage import Storage

    if not studies:
        raise RequestError("report: name a study file, or the name of one that ships with raysweep")
    if (len(studies) > 1) != (out is not None):
        raise RequestError("report: --out FOLDER is where the report of several studies goes: give both, or neither")
    if share is not None:
        check_free(Storage.open(share))
    if out is not None:
        check_merged(Storage.open(out))
    outcomes = [make(study) for study in studies]
    outcome = outcomes[0]
    if out is not None:
        home = Storage.open(out)
        merged = merge_reports([one.home for one in outcomes], home)
        failures, left = ([line for one in outcomes for line in getattr(one, key)] for key in ("failures", "left"))
        outcome = replace(outcome, home=home, report=merged, failures=failures, left=left)
    if share is not None:
        page = share_report(outcome.home, Storage.open(share)).path("index.html")
        Console(highlight=False, soft_wrap=True).print(f"to give away: {page}", markup=False)
    return outcome
