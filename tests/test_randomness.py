import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysweep.randomness import Names, generator, stable_hash, torch_seed

_part = st.integers() | st.text() | st.binary() | st.floats(allow_nan=False)


@given(st.lists(_part, max_size=4), st.lists(_part, max_size=4))
def test_different_names_give_different_streams(a: list, b: list) -> None:
    same = [(type(x), x) for x in a] == [(type(x), x) for x in b]
    signed_zero = any(isinstance(x, float) and x == 0 for x in a + b)
    if not signed_zero:
        assert (stable_hash(*a) == stable_hash(*b)) == same


def test_streams_do_not_depend_on_the_process() -> None:
    code = "from raysweep.randomness import *; print(stable_hash('slide', 3, 0.5), generator(1, 'x').integers(1 << 60))"
    runs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert runs == {f"{stable_hash('slide', 3, 0.5)} {generator(1, 'x').integers(1 << 60)}\n"}


def test_streams_are_uniform_and_independent() -> None:
    draws = np.array([generator(0, "test", i).random() for i in range(4000)])
    assert abs(draws.mean() - 0.5) < 0.02
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.05


def test_the_boundary_between_parts_matters() -> None:
    assert stable_hash("ab", "c") != stable_hash("a", "bc")
    assert stable_hash(1) != stable_hash("1")


def test_a_boolean_is_refused() -> None:
    with pytest.raises(TypeError):
        stable_hash(True)


@given(st.integers(0, 10**6))
def test_torch_seeds_fit(seed: int) -> None:
    assert 0 <= torch_seed(seed, "x") < 2**31


def test_many_names_have_the_hashes_that_each_would_have():
    names, parts = ["a", "ö", "", "a/b.png"], (3, "unit", 0.5)
    wanted = [stable_hash(*parts, name) for name in names]
    assert Names(names).hashes(parts).tolist() == wanted
    assert Names(names).hashes(parts, np.array([3, 1])).tolist() == [wanted[3], wanted[1]]
    assert Names(names).hashes(parts, np.array([], dtype=int)).shape == (0,)
