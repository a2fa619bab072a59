"""Whether weights have seen what they are tested on: the five words, their marks and what the marks mean."""

from collections.abc import Iterable
from dataclasses import dataclass

LABELS, IMAGES, COLLECTION = "labels seen", "images seen unlabelled", "same collection"
NONE, UNKNOWN = "none found", "unknown"
WORDS = (LABELS, IMAGES, COLLECTION, UNKNOWN, NONE)  # the worst first

_MARKS = {LABELS: "‡", IMAGES: "†", COLLECTION: "§"}
_MEANINGS = {
    LABELS: "the checkpoint was trained with labels of tested patients: this is no score on unseen ones",
    IMAGES: "the checkpoint was pretrained on images of tested patients, without their labels",
    COLLECTION: "the checkpoint was pretrained on the collection that the task is from; whether on the tested patients "
    "is not known",
}


@dataclass(frozen=True)
class Seen:
    """What the weights of a checkpoint have seen of a test set: one of `WORDS`, and the facts it rests on in words."""

    test_set: str
    word: str
    reason: str = ""

    @property
    def mark(self) -> str:
        """What stands beside each number; empty where there is nothing to warn of, or nothing is known."""
        return _MARKS.get(self.word, "")


def mark_of(seen: Iterable[Seen], test_set: str) -> str:
    """The mark of numbers on a test set."""
    return next((found.mark for found in seen if found.test_set == test_set), "")


def legend(marks: Iterable[str]) -> list[str]:
    """A line for each mark that occurs, the worst first."""
    used = set(marks)
    return [f"{mark} {word}: {_MEANINGS[word]}" for word, mark in _MARKS.items() if mark in used]
