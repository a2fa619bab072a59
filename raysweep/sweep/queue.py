"""The lanes of a search in the order in which they are served, however many there are."""

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush

from raysweep.sweep.lane import Lane

_Place = tuple[int, str]  # how often a lane has lost, and the kind of work that it has to give


class LaneQueue:
    """Open lanes by what they have to give.

    A start costs the same among ten lanes and ten thousand: lanes are not asked for their work each time; whoever
    changes one says so (`update`). Lanes that wait in the same place are in a heap by their number. An entry is not
    searched for when its lane moves on, but skipped when it comes up.
    """

    def __init__(self, lanes: Iterable[Lane]) -> None:
        self._lanes = dict(enumerate(lanes))  # those that are open
        self._number = {id(lane): number for number, lane in self._lanes.items()}
        self._heaps: dict[_Place, list[int]] = {}
        self._place: dict[int, _Place] = {}  # by number, of lanes that have work
        self._searching: set[int] = set()
        self.update(*self._lanes.values())

    def __len__(self) -> int:
        """How many lanes are open."""
        return len(self._number)

    @property
    def n_searching(self) -> int:
        """How many open lanes have trials to come, theirs or those of the search they wait for."""
        return len(self._searching)

    def update(self, *lanes: Lane) -> None:
        """These lanes may have other work than before, or none. Lanes that are not open are passed over."""
        for lane in lanes:
            number = self._number.get(id(lane))
            if number is None:
                continue
            (self._searching.discard if lane.searched else self._searching.add)(number)
            kind = lane.peek()
            place = None if kind is None else (lane.losses.total(), kind)
            if place == self._place.get(number):
                continue
            if place is None:
                del self._place[number]
            else:
                self._place[number] = place
                heappush(self._heaps.setdefault(place, []), number)

    def remove(self, *lanes: Lane) -> None:
        """These lanes are not open any more."""
        for lane in lanes:
            number = self._number.pop(id(lane), None)
            if number is not None:
                del self._lanes[number]
                self._place.pop(number, None)
                self._searching.discard(number)

    def first(self, kinds: Sequence[str]) -> Lane | None:
        """The lane to serve next: fewest losses, then the first of `kinds`, then the lowest number; None: none can."""
        for losses in sorted({losses for losses, _ in self._heaps}):
            for kind in kinds:
                heap = self._heaps.get((losses, kind), [])
                while heap:
                    if self._place.get(heap[0]) == (losses, kind):
                        return self._lanes[heap[0]]
                    heappop(heap)
        return None
