from hypothesis import given
from hypothesis import strategies as st

from raysweep.transfer.budget import auto_steps, evaluation_steps


def test_auto_is_500_and_grows_with_the_square_root() -> None:
    assert [auto_steps(n) for n in (1, 5000, 20_000, 500_000)] == [500, 500, 1000, 5000]


def test_every_second_evaluation_is_at_half_the_steps_of_another() -> None:
    assert evaluation_steps(800, 8) == [71, 100, 141, 200, 283, 400, 566, 800]
    assert evaluation_steps(500, 1) == [500]


@given(st.integers(1, 5000), st.integers(1, 12))
def test_the_last_is_the_end_and_none_coincide(steps: int, evaluations: int) -> None:
    found = evaluation_steps(steps, evaluations)
    assert found == sorted(set(found))
    assert found[0] >= 1
    assert found[-1] == steps
    assert len(found) <= evaluations
    if steps >= 100 * 2 ** (evaluations / 2):
        assert len(found) == evaluations
