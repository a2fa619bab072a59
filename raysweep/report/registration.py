"""The comparison as it was when the first search began: written down then, and what was changed later."""

from datetime import UTC, datetime
from typing import Any

from raysweep import __version__
from raysweep.report.spec import CompareSpec
from raysweep.storage import Storage

_FILE = "compare.json"


def record(folder: Storage, compare: CompareSpec) -> None:
    """Append the comparison to `compare.json` in a study's folder, unless its last entry says the same.

    Call it before anything is searched; `compare` has its baseline named. Entries are never altered.
    """
    entries = _entries(folder)
    wanted = compare.model_dump(mode="json")
    if not entries or _filled(entries[-1]) != wanted:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        folder.write_json([*entries, {"recorded": now, "raysweep": __version__, "compare": wanted}], _FILE)


def changes(folder: Storage, compare: CompareSpec) -> list[str]:
    """A sentence for each key that is not what it was when the first search began; none while nothing is on record."""
    entries = _entries(folder)
    if not entries:
        return []
    before, now = _flat(_filled(entries[0])), _flat(compare.model_dump(mode="json"))
    day = str(entries[0]["recorded"])[:10]
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    then = {key: f"compare.{key} was {_word(before.get(key))} when the first search began ({day})" for key in changed}
    return [f"{then[key]}, it is {_word(now.get(key))} now." for key in changed]


def _entries(folder: Storage) -> list[dict[str, Any]]:
    return list(folder.read_json(_FILE)) if folder.exists(_FILE) else []


def _filled(entry: dict[str, Any]) -> dict[str, Any]:
    """What was recorded; keys that were not known then have their defaults, since nobody changed them."""
    return {**CompareSpec().model_dump(mode="json"), **entry["compare"]}


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{prefix}{key}.") if isinstance(inner, dict) else {f"{prefix}{key}": inner}
    return found


def _word(value: Any) -> str:
    return "not set" if value is None else str(value)
