"""The rule of thumb by which Mormont et al. call a difference significant; no test, shown beside those that are."""


def beyond_two_sd(difference: float, ours: float | None, base: float | None) -> bool:
    """Whether |difference| is more than twice the larger standard deviation over repeats (Mormont, Geurts and Maree,
    IEEE JBHI 25, 2021, sec. IV). ours, base: of the two, in the metric's units; None, a single run, counts as 0.

    It ignores test units and grows no stricter with many comparisons.
    """
    return abs(difference) > 2 * max(ours or 0.0, base or 0.0)
