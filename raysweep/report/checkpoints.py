"""What the report says of checkpoints: where their weights come from, and whether they saw what they are tested on."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from raysweep.errors import reason_of
from raysweep.report.cells import CellRef
from raysweep.report.seen import LABELS, WORDS, Seen
from raysweep.report.tables import Table
from raysweep.storage import MANIFEST, Storage

_HEADERS = ("checkpoint", "pretrainings", "backbone", "method", "epochs", "patch set", "um/px", "px",
            "lineage", "licence", "status", "seen")  # fmt: skip
_NUMBERS = frozenset({"pretrainings", "epochs", "um/px", "px"})
_SHORT = 8  # letters of a fingerprint that name a folder
_NAMED = 5  # names listed before "and N more"


def checkpoint_table(
    checkpoints: Mapping[str, Sequence[Storage]], cells: Sequence[CellRef], patch_sets: Mapping[str, Storage]
) -> tuple[Table, list[str]]:
    """A row for each checkpoint, and a sentence for each that was taught with labels of a test set, or whose file of
    weights was allowed to lack some or to have more.

    checkpoints: a folder for each pretraining seed. The first readable one speaks for the others, which differ from it
    by their seed alone. cells: they tell what a checkpoint has seen of test sets.
    patch_sets: of the study, by name; of others the first 8 letters of the fingerprint are shown.
    """
    named = {folder.root.rsplit("/", 1)[-1][:_SHORT]: name for name, folder in patch_sets.items()}
    of: dict[str, dict[Seen, None]] = {}
    for cell in cells:
        of.setdefault(cell.checkpoint, {}).update(dict.fromkeys(cell.seen))
    rows, leaks = [], []
    for name, folders in checkpoints.items():
        info, status = _info(folders)
        seen = of.get(name, {})
        rows.append([name, str(len(folders)), *_facts(info, named), status, _seen(seen)])
        leaks += _misfits(name, folders)
        leaks += [
            f"{name} was taught with labels of {found.test_set} ({found.reason}): its values there are not those of "
            "unseen patients."
            for found in seen
            if found.word == LABELS
        ]
    return Table("checkpoints", _HEADERS, rows, _NUMBERS), leaks


def _misfits(name: str, folders: Sequence[Storage]) -> list[str]:
    """What `allow_missing` let pass: nobody shall take the row for the whole of what its file holds."""
    for folder in folders:
        try:
            counts = folder.read_json(MANIFEST)["counts"]
        except Exception:  # the table says what is wrong with it
            continue
        missing, strays = counts.get("missing_keys", []), counts.get("stray_keys", [])
        said = []
        if missing:
            said.append(f"{len(missing)} parameters of {name} were not in its file (allow_missing): {_some(missing)}.")
        if strays:
            said.append(
                f"{len(strays)} parameters in the file of {name} were left out (allow_missing): {_some(strays)}."
            )
        return said
    return []


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:_NAMED]) + (f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else "")


def _info(folders: Sequence[Storage]) -> tuple[Any, str]:
    from raysweep.backbones.checkpoint import read_info

    info, problems = None, []
    for folder in folders:
        if not folder.exists(MANIFEST):
            problems.append("not finished")
            continue
        try:
            info = info or read_info(folder)
        except Exception as error:  # a damaged file is a line in the table, not the end of the report
            problems.append(reason_of(error).replace(folder.root, folder.root.rsplit("/", 1)[-1]))  # no machine's paths
    if not problems:
        return info, "done"
    of = f" ({len(problems)} of {len(folders)})" if len(folders) > 1 else ""
    return info, problems[0] + of


def _facts(info: Any, named: Mapping[str, str]) -> list[str]:
    if info is None:
        return [""] * (len(_HEADERS) - 4)
    return [
        info.backbone,
        info.method or "none",
        str(info.epochs) if info.method else "",
        _patches(info.patches, named) if info.patches else "",
        f"{info.mpp:.4g}" if info.mpp else "",
        str(info.px or ""),
        _lineage([*info.parents, info.model_dump()], named),
        info.licence or "not stated",
    ]


def _patches(fingerprint: str, named: Mapping[str, str]) -> str:
    return named.get(fingerprint[:_SHORT], fingerprint[:_SHORT])


def _lineage(steps: Sequence[Mapping[str, Any]], named: Mapping[str, str]) -> str:
    """`timm:resnet50.tv_in1k → supervised on tissue112`: what it began with, then every pretraining."""
    words = [str(steps[0].get("init") or "unknown")]
    words += [
        f"{s['method']} on {_patches(s['patches'], named) if s.get('patches') else 'patches'}"
        for s in steps
        if s.get("method")
    ]
    return " → ".join(words)


def _seen(found: Iterable[Seen]) -> str:
    """`images seen unlabelled: glas (2 of 9 ...); none found: gbm, crc`; the same reason is told once."""
    told: dict[tuple[str, str], list[str]] = {}
    for seen in sorted(found, key=lambda seen: WORDS.index(seen.word)):
        told.setdefault((seen.word, seen.reason), []).append(seen.test_set)
    return "; ".join(
        f"{word}: {', '.join(sets)}" + (f" ({reason})" if reason else "") for (word, reason), sets in told.items()
    )
