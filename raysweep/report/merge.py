"""One report of several studies: their checkpoints side by side, where they asked the same."""

from collections.abc import Mapping, Sequence

from raysweep.errors import RequestError
from raysweep.report.cells import CellRef
from raysweep.report.registration import FILE as COMPARE
from raysweep.report.registration import changes
from raysweep.report.told import Told, read_told
from raysweep.report.write import write_report
from raysweep.storage import Storage

_OURS = {"report", "results.parquet", "choices.parquet", COMPARE}  # what an earlier report of several left
_MAY_DIFFER = ("transfer.protocols", "transfer.fractions", "transfer.repeats")  # they add cells and change none


def check_merged(out: Storage) -> None:
    """Raise RequestError where a report of several studies would be written over something else."""
    if others := sorted(set(out.names()) - _OURS):
        raise RequestError(f"--out {out.root}: there is something else in this folder ({others[0]}); name another one")


def merge_reports(homes: Sequence[Storage], out: Storage) -> Storage:
    """Write one report of several studies' folders, which have a report each, into another folder. Returns its report/.

    Cells are taken as they are: nothing is copied, so `raysweep verify` works while the studies stay where they are.
    Raises RequestError where the studies' comparisons differ, where a name means different things in two of them, or
    where tasks that they share were not tested alike: the same seed, splits and budget.
    """
    check_merged(out)
    if any(not home.fs.equals(out.fs) for home in homes):
        raise RequestError(f"--out {out.root}: must lie in the same storage as the studies")
    told = [read_told(home) for home in homes]
    for home, one in zip(homes[1:], told[1:], strict=True):
        _check_alike(homes[0], told[0], home, one)
    merged, checkpoints = _cells(told), _checkpoints(homes, told)
    changed = [home for home, one in zip(homes, told, strict=True) if changes(home, one.compare)]
    _record((changed or list(homes))[0], out)
    return write_report(
        out,
        study=" + ".join(one.study for one in told),
        question=next((one.question for one in told if one.question), None),
        compare=told[0].compare,
        patch_sets=_patch_sets(told),
        checkpoints=checkpoints,
        cells=merged,
        choices=[folder for one in told for folder in one.choices],
    )


def _check_alike(first: Storage, a: Told, other: Storage, b: Told) -> None:
    ours, theirs = a.compare.model_dump(), b.compare.model_dump()
    for key in ours:
        if ours[key] != theirs[key]:
            raise RequestError(
                f"{a.study} and {b.study}: compare.{key} is {_word(ours[key])} in the one and {_word(theirs[key])} in "
                "the other; a report has one comparison: give both the same and run `raysweep report` again"
            )
    shared = {c.task for c in a.cells} & {c.task for c in b.cells}
    same = {"seed"} if shared else set()
    same |= {f"{what}.{task}" for task in shared for what in ("tasks", "splits")}
    same |= {k for k in {*a.registration, *b.registration} if shared and k.startswith("transfer.")} - {*_MAY_DIFFER}
    for key in sorted(same):
        if a.registration.get(key) != b.registration.get(key):
            raise RequestError(
                f"{a.study} and {b.study}: {key} is not the same in both, so task {min(shared)} was not tested alike; "
                "report them one by one, or give both the same"
            )


def _checkpoints(homes: Sequence[Storage], told: Sequence[Told]) -> dict[str, Sequence[Storage]]:
    """By name, each once: the same name is the same weights, told by the fingerprints in their folders' names."""
    found: dict[str, tuple[list[str], Sequence[Storage], str]] = {}
    for home, one in zip(homes, told, strict=True):
        for name, folders in one.checkpoints.items():
            prints = [folder.root.removeprefix(home.root) for folder in folders]
            known = found.setdefault(name, (prints, folders, one.study))
            if known[0] != prints:
                raise RequestError(
                    f"{known[2]} and {one.study}: checkpoint {name} is not the same in both; rename it in one of them"
                )
    return {name: folders for name, (_, folders, _) in found.items()}


def _cells(told: Sequence[Told]) -> list[CellRef]:
    found: dict[str, tuple[CellRef, str]] = {}
    for one in told:
        for cell in one.cells:
            known, study = found.setdefault(cell.path, (cell, one.study))
            for a, b in zip(known.repeats, cell.repeats, strict=False):
                if a.path != b.path:
                    raise RequestError(
                        f"{study} and {one.study}: cell {cell.name} was made in two ways; leave it out of one of them"
                    )
            if _done(cell) > _done(known):
                found[cell.path] = (cell, one.study)
    return [cell for cell, _ in found.values()]


def _done(cell: CellRef) -> int:
    return sum(repeat.status == "done" for repeat in cell.repeats)


def _patch_sets(told: Sequence[Told]) -> Mapping[str, Storage]:
    """By name; another one of the same name has that of its study beside it."""
    found: dict[str, Storage] = {}
    for one in told:
        for name, folder in one.patch_sets.items():
            known = found.setdefault(name, folder)
            if known.root.rsplit("/", 1)[-1] != folder.root.rsplit("/", 1)[-1]:
                found[f"{name} ({one.study})"] = folder
    return found


def _record(home: Storage, out: Storage) -> None:
    """What a study fixed at the beginning; without a registration, which is of one study."""
    if not home.exists(COMPARE):
        return out.remove(COMPARE)
    entries = [{k: v for k, v in entry.items() if k != "registered"} for entry in home.read_json(COMPARE)]
    out.write_json(entries, COMPARE)


def _word(value: object) -> str:
    return "not set" if value is None else str(value)
