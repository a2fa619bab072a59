"""Searches that serve again: test sets concern finals alone, so a repeat with others takes over the search it had."""

from collections.abc import Callable, Mapping
from typing import Any

from raysweep.storage import fingerprint
from raysweep.sweep.cell import Repeat
from raysweep.sweep.journal import Event, Journal, journal_names


def search_key(inputs: Mapping[str, Any]) -> str:
    """What names the search of a repeat with these `repeat_inputs`: a fingerprint of all but its further test sets."""
    return fingerprint({key: value for key, value in inputs.items() if key != "test_sets"})


class EarlierSearches:
    """Journals of repeats beside a repeat, in folders of other fingerprints."""

    def __init__(self) -> None:
        self._beside: dict[str, list[str]] = {}  # folders of a cell, which has many repeats

    def take_over(self, repeat: Repeat, claim: Callable[[], bool] = lambda: True) -> None:
        """Begin journals that the repeat does not have yet with the trials of the same search, where there is one.

        `opened` in a journal says which search it is of. Trials keep their numbers, settings and values, the one that
        was under way is tried again, and what was said of the final is left behind. A kill in the middle leaves a
        beginning of that search. `claim` is asked before anything is written: False where another run is at the repeat.
        """
        artefact = repeat.artefact
        home = artefact.home
        if home.root not in self._beside:
            self._beside[home.root] = [name for name in home.names() if name != "current"]
        others = [name for name in self._beside[home.root] if name != artefact.fingerprint[:8]]
        if not others:
            return
        own = artefact.folder.at("journal")
        known = set(journal_names(own))
        key = search_key(artefact.inputs)
        best: dict[str, list[Event]] = {}
        for name in others:
            folder = home.at(name, artefact.part, "journal")
            for fold in journal_names(folder):
                events = Journal(folder, fold).read() if fold not in known else []
                if events and events[0].get("search") == key and _told(events) > _told(best.get(fold, [])):
                    best[fold] = events
        if not best or not claim():
            return
        begun = set(journal_names(own))
        for fold, events in best.items():
            if fold not in begun:
                Journal(own, fold).begin([event for event in events if "final" not in event])


def _told(events: list[Event]) -> int:
    return sum(event["event"] == "told" for event in events)
