import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from raysweep.report.chains import chained

P = st.floats(0, 1)


@settings(max_examples=5, deadline=None)  # statsmodels takes a quarter of a second
@given(st.lists(P, min_size=2, max_size=8))
def test_chains_of_one_are_holm(p):
    found = [chain[0] for chain in chained([[x] for x in p])]
    assert found == pytest.approx(multipletests(p, method="holm")[1])


@settings(max_examples=30, deadline=None)
@given(st.lists(P, min_size=1, max_size=8))
def test_one_chain_costs_nothing_but_its_order(p):
    assert chained([p])[0] == pytest.approx([max(p[: i + 1]) for i in range(len(p))])


def test_a_chain_that_is_done_passes_its_share_on():
    # 0.01 and 0.02 fall at 0.05 / 2; then the second chain has all of it
    assert chained([[0.01, 0.02], [0.04, 0.9]]) == [pytest.approx([0.02, 0.04]), pytest.approx([0.04, 0.9])]


def test_what_was_not_tested_ends_its_chain_and_keeps_its_share():
    assert chained([[0.001, None, 0.001], [0.03]]) == [[pytest.approx(0.002), None, None], [pytest.approx(0.06)]]
    assert chained([[], []]) == [[], []]
    assert chained([]) == []


def test_many_chains_do_not_cost_their_square():
    """All pairs of 80 checkpoints at 5 label counts."""
    chains = [[((7 * k + 3 * i) % 1009 + 1) / 1e7 for i in range(5)] for k in range(3160)]
    start = time.process_time()
    found = chained(chains)
    assert time.process_time() - start < 1
    assert all(p is not None for chain in found for p in chain)
