"""Dealing units to splits."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from raysweep.slides.table.columns import deal_splits
from raysweep.slides.table.entries import SlideEntry


def slide(
    name: str, patient: str | None = None, split: str | None = None, site: str | None = None, label: str | None = None
) -> SlideEntry:
    return SlideEntry(name, f"{name}.svs", patient=patient, split=split, site=site, label=label)


many = st.lists(st.sampled_from([None, "p1", "p2", "p3", "p4", "p5"]), min_size=1, max_size=30).map(
    lambda patients: [slide(f"s{i}", patient) for i, patient in enumerate(patients)]
)


@given(many, st.integers(0, 5), st.randoms())
def test_a_patient_is_on_one_side_and_order_does_not_matter(slides, seed, random):
    fractions = {"val": 0.2, "test": 0.3}
    dealt = deal_splits(slides, fractions, seed)
    sides: dict = {}
    for entry in slides:
        assert sides.setdefault(entry.unit(), dealt[entry.name]) == dealt[entry.name]
    assert "train" in dealt.values()
    shuffled = list(slides)
    random.shuffle(shuffled)
    assert deal_splits(shuffled, fractions, seed) == dealt


def test_fractions_count_units():
    dealt = deal_splits([slide(f"s{i}", f"p{i // 2}") for i in range(40)], {"val": 0.2, "test": 0.3}, seed=0)
    assert Counter(dealt.values()) == {"train": 20, "val": 8, "test": 12}
    assert dealt != deal_splits([slide(f"s{i}", f"p{i // 2}") for i in range(40)], {"val": 0.2, "test": 0.3}, seed=1)


def test_small_sets_still_get_one_of_each():
    dealt = deal_splits([slide(f"s{i}") for i in range(3)], {"val": 0.1, "test": 0.1}, seed=0)
    assert Counter(dealt.values()) == {"train": 1, "val": 1, "test": 1}
    assert deal_splits([slide("s")], {"test": 0.9}, seed=0) == {"s": "train"}


def test_the_table_wins_for_the_whole_patient():
    slides = [slide("a", "p", "test"), slide("b", "p"), slide("c", None, "val"), slide("d")]
    assert deal_splits(slides, {}, seed=0) == {"a": "test", "b": "test", "c": "val", "d": "train"}


def test_a_slide_named_like_a_patient_is_another_unit():
    slides = [slide("p", None, "test"), slide("b", "p", "train")]
    assert deal_splits(slides, {}, seed=0) == {"p": "test", "b": "train"}


@given(st.lists(st.integers(0, 30), min_size=1, max_size=40), st.integers(0, 5))
def test_a_site_is_on_one_side_with_all_its_patients(patients, seed):
    slides = [slide(f"s{i}", f"p{p}", site=f"h{p % 7}") for i, p in enumerate(patients)]
    dealt = deal_splits(slides, {"val": 0.2, "test": 0.2}, seed, "site")
    sides: dict = {}
    for entry in slides:
        assert sides.setdefault(entry.site, dealt[entry.name]) == dealt[entry.name]
        assert sides.setdefault(entry.patient, dealt[entry.name]) == dealt[entry.name]
    if len({entry.site for entry in slides}) >= 3:
        assert set(dealt.values()) == {"train", "val", "test"}


def test_the_table_wins_for_the_whole_site():
    slides = [slide("a", "p", "test", "x"), slide("b", "q", None, "x"), slide("c", "r", None, "y")]
    assert deal_splits(slides, {}, 0, "site") == {"a": "test", "b": "test", "c": "train"}


@given(st.lists(st.integers(0, 60), min_size=1, max_size=80), st.integers(0, 5))
def test_each_value_gets_its_share(patients, seed):
    slides = [slide(f"s{i}", f"p{p}", label="rare" if p % 10 == 0 else "common") for i, p in enumerate(patients)]
    dealt = deal_splits(slides, {"val": 0.02, "test": 0.01}, seed, within="label")
    for label in ("rare", "common"):
        units = {entry.patient: dealt[entry.name] for entry in slides if entry.label == label}
        if len(units) >= 3:  # a class of few patients has some everywhere, however small the fractions
            assert set(units.values()) == {"train", "val", "test"}
    assert {entry.patient: dealt[entry.name] for entry in slides} == {
        entry.patient: dealt[entry.name] for entry in reversed(slides)
    }


def test_a_unit_of_two_values_is_dealt_once():
    slides = [slide("a", "p", label="x"), slide("b", "p", label="y"), slide("c", "q", label="y")]
    dealt = deal_splits(slides, {"test": 0.5}, 0, within="label")
    assert dealt["a"] == dealt["b"]
