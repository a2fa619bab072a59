import pytest

from raysweep.tasks.draft.listing import split_word
from raysweep.tasks.draft.units import guess_unit


def test_barcodes_cases_and_numbers_at_the_end():
    tcga = [f"a/TCGA-AA-{1000 + n // 2}-01Z_{n}.png" for n in range(20)]
    assert guess_unit(tcga, None).units[0] == "TCGA-AA-1000"
    cases = [f"x/tumour_case{n // 2}_view_b{n}.png" for n in range(20)]
    assert guess_unit(cases, None).units[:3] == ["case0", "case0", "case1"]
    tiles = [f"S{n // 4}_x{n % 2 * 224}_y{n % 4 * 224}.png" for n in range(40)]
    guess = guess_unit(tiles, None)
    assert (guess.unit, guess.units[0], len(set(guess.units))) == ("slide", "S0", 10)


def test_what_is_no_unit():
    assert guess_unit([f"train_{n}.png" for n in range(30)], None) is None  # one word for all
    assert guess_unit([f"{n}.png" for n in range(30)], None) is None
    assert guess_unit([f"a{n}_1.png" for n in range(30)], None) is None  # each has its own
    names = [f"{label}-{n}.png" for label in "abcdefghij" for n in range(5)]
    assert guess_unit(names, [name[0] for name in names]) is None  # they are the classes


def test_folders_below_the_class():
    images = [f"{label}/P{n // 3}/{n}.png" for label in "ab" for n in range(30)]
    assert len(set(guess_unit(images, [i[0] for i in images], 1).units)) == 10


@pytest.mark.parametrize(
    ("name", "split"),
    [("Train", "train"), ("testA", "test"), ("test_2", "test"), ("valid", "val"), ("Validation", "val"),
     ("trying", None), ("try", None), ("contest", None), ("tumour", None), ("", None)],
)  # fmt: skip
def test_words_that_name_a_split(name, split):
    assert split_word(name) == split
