"""Units dealt to groups so that every group has its share of everything."""

import numpy as np

_SEARCH = 100  # most units for which pairs are tried; beyond that greedy dealing is even enough
_MISSING = 10.0  # cost of a thing that a group lacks: more than any unevenness


def partition(counts: np.ndarray, shares: list[float]) -> np.ndarray:
    """The group of each unit, int (U,), in [0, G).

    `counts` is (U, C): how much of each of C things a unit has (samples of a class, samples in all). `shares` (G,)
    is the part of everything that each group should get. Units are dealt in their order, each where it brings the
    groups nearest to their shares of every thing and of units; then single moves and swaps go on as long as they
    help. A thing that a group lacks costs more than any unevenness, so that happens only where the units allow
    nothing else.
    """
    share = np.asarray(shares, dtype=float)[:, None]
    units = np.concatenate([counts, np.ones((len(counts), 1))], axis=1).astype(float)
    totals = units.sum(axis=0)
    weighed = units[:, totals > 0] / totals[totals > 0]
    held = np.zeros((len(shares), weighed.shape[1]))
    group = np.empty(len(units), dtype=int)
    for unit, row in enumerate(weighed):
        gain = _cost(held + row, share) - _cost(held, share)
        group[unit] = int(np.argmin(gain))
        held[group[unit]] += row
    if len(units) <= _SEARCH:
        _improve(group, weighed, held, share)
    return group


def _cost(held: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Unevenness of each group, as in a chi-square: (..., C) -> (...)."""
    short = (held < 1e-12).sum(axis=-1) * _MISSING
    return ((held - share) ** 2 / share).sum(axis=-1) + short


def _improve(group: np.ndarray, weighed: np.ndarray, held: np.ndarray, share: np.ndarray) -> None:
    """Best move or swap first, until none helps; in place."""
    for _ in range(10 * len(group)):
        now = _cost(held, share)
        best, step = -1e-9, (-1, -1, -1)  # a unit, its new group, the unit it changes places with
        for unit, source in enumerate(group):
            row = weighed[unit]
            left = _cost(held[source] - row, share[source])
            for target in range(len(share)):
                if target == source:
                    continue
                before = now[source] + now[target]
                move = left + _cost(held[target] + row, share[target]) - before
                if move < best:
                    best, step = move, (unit, target, -1)
                others = np.flatnonzero(group == target)
                if not len(others):
                    continue
                swap = (
                    _cost(held[source] - row + weighed[others], share[source])
                    + _cost(held[target] + row - weighed[others], share[target])
                    - before
                )
                at = int(np.argmin(swap))
                if swap[at] < best:
                    best, step = float(swap[at]), (unit, target, int(others[at]))
        unit, target, other = step
        if unit < 0:
            return
        if other >= 0:
            group[other] = group[unit]
        group[unit] = target
        for index in range(len(share)):
            held[index] = weighed[group == index].sum(axis=0)
