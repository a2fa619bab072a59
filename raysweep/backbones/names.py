"""Whether timm knows a name: looked up in its source first, because importing it takes seconds."""

import difflib
import functools
import importlib.util
import re
from pathlib import Path

from raysweep.errors import RequestError


def check_backbone(name: str) -> None:
    """Raises RequestError, with the nearest names, for a name that timm does not know; a tag is not looked at."""
    base = name.partition(".")[0]
    if re.search(rf"^def {re.escape(base)}\(", _source(), re.MULTILINE):
        return
    from timm.models import is_model, list_models

    if not is_model(base):
        near = difflib.get_close_matches(base, list_models(), n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}?" if near else "`timm.list_models()` lists the names"
        raise RequestError(f"backbone {name}: timm has no such model; {hint}")


def check_tag(name: str) -> None:
    """Raises RequestError, with the known tags, unless the name is a full tag with published weights."""
    base, _, tag = name.partition(".")
    if tag and re.search(rf"'{re.escape(name)}': _\w*cfg\(", _source()):
        return
    check_backbone(name)
    from timm.models import list_pretrained

    known = list_pretrained(f"{base}.*")
    if name in known:
        return
    if not known:
        raise RequestError(f"backbone {name}: timm has no published weights of it; use init: random or a file")
    what = f"timm has no weights tagged {tag}" if tag else "init: timm needs the full tag of the weights"
    raise RequestError(f"backbone {name}: {what}; known: {', '.join(known)}")


@functools.cache
def _source() -> str:
    """The text of timm's model files: each model is a function, each set of weights an entry of a dictionary."""
    spec = importlib.util.find_spec("timm")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "models"
    return "\n".join(file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.py")))
