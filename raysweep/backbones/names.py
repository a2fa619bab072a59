"""Whether timm knows a name: looked up in its source first, because importing it takes seconds."""

import difflib
import functools
import importlib.util
import re
from pathlib import Path

from raysweep.errors import RequestError


def check_backbone(name: str) -> None:
    """Raises RequestError, with the nearest names, for a name or a tag that timm does not know."""
    base, _, tag = name.partition(".")
    if _is_defined(base) and (not tag or _has_entry(name)):
        return
    from timm.models import is_model, list_models

    if is_model(base):
        if tag and not is_tag(name):
            raise RequestError(f"backbone {name}: timm has no {base} tagged {tag}; write {base}, or a tag that it has")
    else:
        near = difflib.get_close_matches(base, list_models(), n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}?" if near else "`timm.list_models()` lists the names"
        raise RequestError(f"backbone {name}: timm has no such model; {hint}")


def check_tag(name: str) -> None:
    """Raises RequestError, with the known tags, unless the name is a full tag with published weights."""
    base, _, tag = name.partition(".")
    if tag and _has_entry(name):
        return
    check_backbone(base)
    from timm.models import list_pretrained

    known = list_pretrained(f"{base}.*")
    if name in known:
        return
    if not known:
        raise RequestError(f"backbone {name}: timm has no published weights of it; use init: random or a file")
    what = f"timm has no weights tagged {tag}" if tag else "init: timm needs the full tag of the weights"
    raise RequestError(f"backbone {name}: {what}; known: {', '.join(known)}")


def is_tag(name: str) -> bool:
    """Whether timm knows a name with a tag: of published weights, or of a way to feed the network."""
    import timm

    try:
        return timm.get_pretrained_cfg(name, allow_unregistered=False) is not None
    except RuntimeError:
        return False


@functools.cache  # a search of 4 MB takes 30 to 70 ms
def _is_defined(base: str) -> bool:
    return re.search(rf"^def {re.escape(base)}\(", _source(), re.MULTILINE) is not None


@functools.cache
def _has_entry(name: str) -> bool:
    return re.search(rf"'{re.escape(name)}': _\w*cfg\(", _source()) is not None


@functools.cache
def _source() -> str:
    """The text of timm's model files: each model is a function, each set of weights an entry of a dictionary."""
    spec = importlib.util.find_spec("timm")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "models"
    return "\n".join(file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.py")))
