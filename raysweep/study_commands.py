"""The command about studies that ship."""

from rich.console import Console


def studies() -> None:
    """The studies that ship with raysweep: `raysweep run NAME data=FOLDER`. Their files' first lines tell the rest."""
    from raysweep.progress import print_table
    from raysweep.study.shipped import study_rows

    print_table(Console(highlight=False, soft_wrap=True), "studies", *study_rows())
