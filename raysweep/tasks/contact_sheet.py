"""A page of examples of each class of a labelled set: one HTML file that needs nothing else."""

import base64
import html
import io
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from raysweep.errors import WorkError
from raysweep.randomness import Names
from raysweep.storage import Storage
from raysweep.tasks.facts import task_facts
from raysweep.tasks.masks import IGNORED
from raysweep.tasks.read import read_sample
from raysweep.tasks.task import Task

_EXAMPLES = 12  # of each class
_EDGE = 240  # px, the long edge of an example
_QUALITY = 85
_COLOURS = np.array([[46, 204, 64], [255, 65, 54], [0, 116, 217], [255, 220, 0], [177, 13, 201], [255, 133, 27]])
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:78rem;padding:0 1rem;color:#1a1a1a;
background:#fff}table{border-collapse:collapse}td{padding:.15rem 1.2rem .15rem 0;vertical-align:top}
.row{display:flex;flex-wrap:wrap;gap:.8rem}figure{margin:0;max-width:240px}img{display:block;max-width:100%}
figcaption{font-size:12px;overflow-wrap:anywhere;color:#555}
@media(prefers-color-scheme:dark){body{background:#161616;color:#eee}figcaption{color:#aaa}}"""


def write_contact_sheet(task: Task, path: Path) -> int:
    """Write the page and return the number of pictures on it: up to 12 of each class, of different units first.

    Masks are drawn as outlines, a colour for each class. The choice depends on the task's name and the images' ids
    alone. An image that cannot be read is named in its place. Raises WorkError where the page cannot be written.
    """
    card = task.card
    facts = "".join(
        f"<tr><td>{html.escape(what)}</td><td>{html.escape(said)}</td></tr>" for what, said in task_facts(task)
    )
    parts, count = [], 0
    first = 0 if card.kind == "classification" else 1  # every mask shows background
    for number in range(first, len(card.classes)):
        figures = [_figure(task, index) for index in _examples(task, number)]
        count += len(figures)
        mark = "" if card.kind == "classification" else f' <span style="color:{_css(number)}">&#9632;</span>'
        parts.append(f"<h2>{html.escape(card.classes[number])}{mark}</h2><div class=row>{''.join(figures)}</div>")
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{html.escape(card.name)}</title><style>{_STYLE}</style><h1>{html.escape(card.title or card.name)}</h1>"
        f"<p>{html.escape(card.source)}. Licence: {html.escape(card.licence.name)}.</p><table>{facts}</table>"
        f"{''.join(parts)}</html>\n"
    )
    Storage.open(path.absolute().parent).write_bytes(page.encode(), path.name)
    return count


def _examples(task: Task, number: int) -> list[int]:
    """Samples that show a class, by luck, one of each unit before a second of any."""
    shows = [i for i, sample in enumerate(task.samples) if number in sample.classes]
    luck = Names(task.samples[i].id for i in shows).hashes(("contact sheet", task.card.name, number))
    seen: dict[str, int] = {}
    turns: list[tuple[int, int, int]] = []
    for at in np.argsort(luck, kind="stable").tolist():
        unit = task.samples[shows[at]].unit
        turns.append((seen.get(unit, 0), len(turns), shows[at]))
        seen[unit] = seen.get(unit, 0) + 1
    return [index for _, _, index in sorted(turns)[:_EXAMPLES]]


def _figure(task: Task, index: int) -> str:
    sample = task.samples[index]
    whose = "" if sample.unit == sample.id else f"<br>{html.escape(task.card.unit)} {html.escape(sample.unit)}"
    caption = f"<figcaption>{html.escape(sample.id)}{whose}</figcaption>"
    try:
        image, mask = read_sample(task, index)
    except WorkError as error:
        return f"<figure><p>{html.escape(str(error))}</p>{caption}</figure>"
    data = base64.b64encode(_jpeg(image, mask)).decode()
    return f"<figure><img alt='' src='data:image/jpeg;base64,{data}'>{caption}</figure>"


def _jpeg(image: np.ndarray, mask: np.ndarray | None) -> bytes:
    """A small copy of uint8 (h, w, 3), with the outlines of class ids (h, w)."""
    height, width = image.shape[:2]
    scale = min(1.0, _EDGE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.array(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
    if mask is not None:
        ids = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
        for number in np.unique(ids):
            if number not in (0, IGNORED):
                inside = ids == number
                small[inside & ~ndimage.binary_erosion(inside)] = _colour(int(number))
    out = io.BytesIO()
    Image.fromarray(small).save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def _colour(number: int) -> np.ndarray:
    return _COLOURS[(number - 1) % len(_COLOURS)]


def _css(number: int) -> str:
    return "rgb({},{},{})".format(*_colour(number))
