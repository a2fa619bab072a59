"""Corrected p values of several ordered chains of hypotheses: in a chain each is tested only if the one before fell.

Within a chain nothing is lost by testing in an order that was fixed before (Maurer, Hothorn and Lehmacher 1995). Over
chains this is Holm's method: all chains start with an equal share of alpha, a hypothesis that falls passes its share to
the next of its chain, and a chain that is done passes its share to the others in equal parts (the graphical procedure
of Bretz, Maurer, Brannath and Posch, Stat. Med. 28, 2009). Chains of a single hypothesis give Holm (1979).
"""

from collections.abc import Sequence
from heapq import heapify, heappop, heapreplace


def chained(chains: Sequence[Sequence[float | None]]) -> list[list[float | None]]:
    """p values in the order of testing to corrected ones, chain by chain; None, not tested, ends its chain.

    A corrected p value is the smallest alpha at which the hypothesis falls.
    """
    corrected: list[list[float | None]] = [[None] * len(chain) for chain in chains]
    waiting = [(p, k, 0) for k, chain in enumerate(chains) if chain and (p := chain[0]) is not None]
    heapify(waiting)
    left, reached = len(chains), 0.0  # shares are equal from first to last: one over the chains that are not done
    while waiting:
        p, k, place = waiting[0]
        reached = max(reached, min(1.0, p * left))
        corrected[k][place] = reached
        after = chains[k][place + 1] if place + 1 < len(chains[k]) else None
        if after is not None:
            heapreplace(waiting, (after, k, place + 1))
        else:
            heappop(waiting)
            left -= place + 1 == len(chains[k])
    return corrected
