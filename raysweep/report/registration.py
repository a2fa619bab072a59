"""The comparison as it was when the first search began, or the whole study as it was registered before: written down
then, and what was changed later."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from raysweep import __version__
from raysweep.errors import RequestError
from raysweep.report.spec import CompareSpec
from raysweep.storage import Storage, fingerprint

FILE = "compare.json"


def record(folder: Storage, compare: CompareSpec) -> None:
    """Append the comparison to `compare.json` in a study's folder, unless its last entry says the same.

    Call it before anything is searched; `compare` has its baseline named. Entries are never altered.
    """
    entries = _entries(folder)
    wanted = compare.model_dump(mode="json")
    if not entries or _filled(entries[-1]) != wanted:
        folder.write_json([*entries, _entry(wanted)], FILE)


@dataclass(frozen=True)
class Standing:
    """A sentence on the registration of a study, and whether it still holds."""

    sentence: str
    holds: bool


def register(folder: Storage, compare: CompareSpec, keys: Mapping[str, str]) -> str:
    """Append a registration to `compare.json` before anything is searched, and return its hash (32 hex digits).

    keys: what else of the study decides its results, each with a hash of its value, so that no value and no path is
    written down. The first registration binds; the same again adds nothing.
    Raises RequestError once a search has begun.
    """
    entries = _entries(folder)
    begun = next((e for e in entries if "registered" not in e), None)
    if begun:
        raise RequestError(
            f"plan --register: the first search began on {str(begun['recorded'])[:10]}, and a registration is made "
            "before; register another study (another name) and run that"
        )
    wanted, digest = compare.model_dump(mode="json"), _digest(compare, keys)
    if not entries or entries[-1]["registered"]["hash"] != digest:
        entry = _entry(wanted) | {"registered": {"hash": digest, "keys": dict(keys)}}
        folder.write_json([*entries, entry], FILE)
    return digest


def standing(folder: Storage, compare: CompareSpec, keys: Mapping[str, str]) -> Standing | None:
    """Whether the study is still what was registered first; None where nothing was."""
    first = next((e for e in _entries(folder) if "registered" in e), None)
    if first is None:
        return None
    digest, then = str(first["registered"]["hash"]), first["registered"]["keys"]
    said = f"Registered before any search, on {str(first['recorded'])[:10]}, as {digest}"
    changed = [key for key in sorted({*then, *keys}) if then.get(key) != keys.get(key)]
    before, now = _flat(_filled(first)), _flat(compare.model_dump(mode="json"))
    changed += [f"compare.{key}" for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    if not changed:
        return Standing(f"{said}: study, splits and comparison are still the same.", True)
    return Standing(f"{said}; not kept, these are others now: {', '.join(changed)}.", False)


def changes(folder: Storage, compare: CompareSpec) -> list[str]:
    """A sentence for each key that is not what it was when the first search began; none while nothing is on record."""
    entries = _entries(folder)
    if not entries:
        return []
    before, now = _flat(_filled(entries[0])), _flat(compare.model_dump(mode="json"))
    day = str(entries[0]["recorded"])[:10]
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    when = "it was registered" if "registered" in entries[0] else "the first search began"
    then = {key: f"compare.{key} was {_word(before.get(key))} when {when} ({day})" for key in changed}
    return [f"{then[key]}, it is {_word(now.get(key))} now." for key in changed]


def _entry(compare: dict[str, Any]) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"recorded": now, "raysweep": __version__, "compare": compare}


def _digest(compare: CompareSpec, keys: Mapping[str, str]) -> str:
    return fingerprint({"compare": compare.model_dump(mode="json"), "keys": dict(keys)})


def _entries(folder: Storage) -> list[dict[str, Any]]:
    return list(folder.read_json(FILE)) if folder.exists(FILE) else []


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
