"""Neutral names for units, images and slides, the same wherever a name occurs.

Units are numbered by what is known of them beside their names (a hash of their predictions, or of a slide's figures),
so that neither a number nor an order says anything of a name, and equal inputs give equal numbers.
"""

import re
from collections.abc import Iterable, Mapping

import pyarrow as pa

from raysweep.patches.outcomes import SlideOutcome
from raysweep.randomness import stable_hash

_PATH = re.compile(r"(?<![\w.])(?:[A-Za-z][A-Za-z0-9+.-]*://|[A-Za-z]:[\\/]|~?/[^\s'\"(),;/]+/)[^\s'\"(),;]+")
_SHORT = 3  # letters; a shorter name cannot be told from a count or a word
_SURE = 8  # so long a name is no word that stands there by chance


class Neutral:
    """Names in, neutral names out: `unit 1`, `unit 1 image 1`, `slide 1`."""

    def __init__(self) -> None:
        self._units: dict[str, str] = {}
        self._images: dict[str, str] = {}
        self._slides: dict[str, str] = {}
        self._texts: dict[str, str] = {}

    def learn_predictions(self, table: pa.Table) -> None:
        """Name the units and images of a prediction file that have no name yet."""
        if set(table["unit"].unique().to_pylist()) <= self._units.keys() and (
            set(table["sample"].unique().to_pylist()) <= self._images.keys()
        ):
            return
        rows: dict[str, list[tuple[int, str]]] = {}
        known = table.drop_columns(["sample", "unit"]).to_pylist()
        for sample, unit, row in zip(table["sample"].to_pylist(), table["unit"].to_pylist(), known, strict=True):
            rows.setdefault(unit, []).append((stable_hash(repr(row)), sample))
        self._number(self._units, {unit: [h for h, _ in own] for unit, own in rows.items()}, "unit")
        for unit, own in rows.items():
            for _, sample in sorted(own):
                if sample == unit:  # the image is the unit
                    self._images[sample] = self._units[unit]
                else:
                    self._images.setdefault(sample, f"{self._units[unit]} image {len(self._images) + 1}")

    def learn_slides(self, slides: Iterable[SlideOutcome]) -> None:
        """Name the slides of a patch set and their patients; a slide or patient that is a unit has its name."""
        rows = [(s, stable_hash(s.status, s.n_patches or 0, repr((s.tissue_area_um2, s.mpp, s.split)))) for s in slides]
        patients: dict[str, list[int]] = {}
        for slide, number in rows:
            if slide.patient:
                patients.setdefault(slide.patient, []).append(number)
        self._number(self._units, patients, "unit")
        self._slides |= {s.slide: self._units[s.slide] for s, _ in rows if s.slide in self._units}
        self._number(self._slides, {s.slide: [number] for s, number in rows}, "slide")

    def unit(self, name: str | None) -> str | None:
        """Of a unit or patient."""
        return None if name is None else self._units[name]

    def image(self, name: str) -> str:
        return self._images[name]

    def slide(self, name: str) -> str:
        return self._slides[name]

    def text(self, text: str | None) -> str | None:
        """A sentence, such as why a slide failed, without names and without paths of a machine.

        Of names of 1 or 2 letters nothing is looked for: they cannot be told from counts and words.
        """
        if not text:
            return text
        if text not in self._texts:
            said = _PATH.sub("(a path)", text)
            names = {**self._slides, **self._images, **self._units}
            there = sorted((n for n in names if len(n) >= _SHORT and n in said), key=len, reverse=True)
            if there:
                said = re.sub("|".join(map(_pattern, there)), lambda found: names[found[0]], said)
            self._texts[text] = said
        return self._texts[text]

    def _number(self, known: dict[str, str], found: Mapping[str, Iterable[int]], noun: str) -> None:
        new = {name: stable_hash(*sorted(numbers)) for name, numbers in found.items() if name not in known}
        for name in sorted(new, key=lambda name: (new[name], stable_hash(name))):
            known[name] = f"{noun} {len(known) + 1}"


def _pattern(name: str) -> str:
    """A name that is surely one is found within words too, another one only as a word of its own."""
    sure = len(name) >= _SURE or (re.search(r"\d", name) and re.search(r"[^\W\d_]", name))
    escaped = re.escape(name)
    return escaped if sure else rf"(?<![A-Za-z0-9]){escaped}(?![A-Za-z0-9])"
