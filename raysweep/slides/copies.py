"""Slides that are one and the same under several names."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def copies_among(slides: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """Names of slides whose files have the same content, each group and the groups sorted.

    `slides` are entries of `patch_set_inputs(...)["slides"]`. Content is known by size, first and last MiB.
    """
    alike: dict[str, list[str]] = {}
    for slide in slides:
        if "identity" in slide:
            identity = slide["identity"]
            files = sorted((part["size"], part["hash"]) for part in (identity, *identity.get("files", [])))
            alike.setdefault(repr(files), []).append(slide["name"])
    return sorted(sorted(names) for names in alike.values() if len(names) > 1)


def words_of_copies(copies: Sequence[Sequence[str]]) -> str:
    """A sentence that names them."""
    named = "; ".join(" and ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
                      for names in copies[:3])  # fmt: skip
    more = f"; and {len(copies) - 3} more" if len(copies) > 3 else ""
    return f"slides of the same content under several names (never dealt to two splits): {named}{more}"
