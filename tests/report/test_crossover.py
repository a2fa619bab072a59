import pytest

from raysweep.report.crossover import crossovers
from raysweep.report.intervals import Difference


def curve(*p: tuple[float, float] | None) -> list[Difference | None]:
    """Points with (p_equal, p_above)."""
    return [None if x is None else Difference(0.0, 20, 3, p_equal=x[0], p_above=x[1]) for x in p]


def only(*p) -> tuple[int | None, int | None]:
    [found] = crossovers([curve(*p)], alpha=0.05, margin=0.02)
    return found.equal_from, found.better_to


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(0.9, 0.01), (0.5, 0.3), (0.01, 0.9), (0.02, 0.9)], (2, 0)),
        ([(0.01, 0.9), (0.5, 0.3), (0.04, 0.9)], (2, None)),  # stopped at the first failure, what lies before is lost
        ([(0.01, 0.9), (0.01, 0.9)], (0, None)),
        ([(0.9, 0.01), (0.9, 0.04)], (None, 1)),  # better everywhere: equality is not reached
        ([(0.01, 0.2), (0.2, 0.01)], (None, None)),
        ([(0.01, 0.2), None], (None, None)),  # the largest is not there
    ],
)
def test_from_the_ends_to_the_first_failure(points, expected):
    assert only(*points) == expected


def test_curves_are_corrected_by_holm():
    curves = [curve((0.5, 0.5), (0.02, 0.9)), curve((0.5, 0.5), (0.03, 0.9))]
    assert [c.equal_from for c in crossovers(curves, alpha=0.05, margin=0.02)] == [1, None]
    # the first curve is done with all of its points and passes its share on
    curves = [curve((0.02, 0.9), (0.02, 0.9)), curve((0.5, 0.5), (0.03, 0.9))]
    assert [c.equal_from for c in crossovers(curves, alpha=0.05, margin=0.02)] == [0, 1]


def test_without_a_margin_or_curves_there_is_none():
    assert crossovers([], alpha=0.05, margin=0.02) == []
    [found] = crossovers([curve((0.01, 0.9))], alpha=0.05, margin=0)
    assert (found.equal_from, found.better_to) == (None, None)
