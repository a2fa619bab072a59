"""Corrected p values of several ordered chains of hypotheses: in a chain each is tested only if the one before fell.

Within a chain nothing is lost by testing in an order that was fixed before (Maurer, Hothorn and Lehmacher 1995). Over
chains this is Holm's method: all chains start with an equal share of alpha, a hypothesis that falls passes its share to
the next of its chain, and a chain that is done passes its share to the others in equal parts (the graphical procedure
of Bretz, Maurer, Brannath and Posch, Stat. Med. 28, 2009). Chains of a single hypothesis give Holm (1979).
"""

from collections.abc import Sequence


def chained(chains: Sequence[Sequence[float | None]]) -> list[list[float | None]]:
    """p values in the order of testing to corrected ones, chain by chain; None, not tested, ends its chain.

    A corrected p value is the smallest alpha at which the hypothesis falls.
    """
    corrected: list[list[float | None]] = [[None] * len(chain) for chain in chains]
    share = {k: 1 / len(chains) for k in range(len(chains))}
    place = dict.fromkeys(share, 0)
    reached = 0.0
    while share:
        heads = {k: chains[k][place[k]] if place[k] < len(chains[k]) else None for k in share}
        waiting = {k: p / share[k] for k in share if (p := heads[k]) is not None}
        if not waiting:
            break
        first = min(waiting, key=lambda k: waiting[k])
        reached = max(reached, min(1.0, waiting[first]))
        corrected[first][place[first]] = reached
        place[first] += 1
        if place[first] == len(chains[first]) and len(share) > 1:
            freed = share.pop(first)
            share = {k: part + freed / len(share) for k, part in share.items()}
        elif place[first] == len(chains[first]):
            break
    return corrected
