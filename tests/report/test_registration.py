import pytest

from raysweep.errors import RequestError
from raysweep.report.registration import changes, record, register, standing
from raysweep.report.spec import CompareSpec
from raysweep.storage import Storage

COMPARE = CompareSpec(baseline="imagenet")
KEYS = {"seed": "aa", "transfer.trials": "bb", "splits.glas-grade": "cc"}


@pytest.fixture
def folder(tmp_path):
    return Storage.open(tmp_path)


def test_a_registration_is_a_hash_that_holds_until_something_changes(folder):
    assert standing(folder, COMPARE, KEYS) is None
    digest = register(folder, COMPARE, KEYS)
    assert len(digest) == 32
    assert register(folder, COMPARE, dict(reversed(KEYS.items()))) == digest
    assert len(folder.read_json("compare.json")) == 1
    found = standing(folder, COMPARE, KEYS)
    assert found.holds
    assert f"as {digest}: study, splits and comparison are still the same." in found.sentence
    later = standing(folder, COMPARE.model_copy(update={"margin": 0.1}), KEYS | {"seed": "dd", "tasks.new": "ee"})
    assert not later.holds
    assert later.sentence.endswith("; not kept, these are others now: seed, tasks.new, compare.margin.")
    assert not standing(folder, COMPARE, {"seed": "aa"}).holds, "a key that was taken away"


def test_the_first_registration_binds(folder):
    first = register(folder, COMPARE, KEYS)
    second = register(folder, COMPARE, KEYS | {"seed": "dd"})
    assert first != second
    assert [e["registered"]["hash"] for e in folder.read_json("compare.json")] == [first, second]
    assert not standing(folder, COMPARE, KEYS | {"seed": "dd"}).holds
    assert standing(folder, COMPARE, KEYS).holds


def test_a_search_after_it_adds_nothing_and_a_change_is_named_with_its_day(folder):
    register(folder, COMPARE, KEYS)
    record(folder, COMPARE)
    assert len(folder.read_json("compare.json")) == 1
    changed = COMPARE.model_copy(update={"margin": 0.1})
    record(folder, changed)
    [said] = changes(folder, changed)
    assert said.startswith("compare.margin was 0.02 when it was registered (")
    with pytest.raises(RequestError, match=r"the first search began on \d{4}-\d\d-\d\d, and a registration is made be"):
        register(folder, COMPARE, KEYS)


def test_it_is_too_late_once_a_search_has_begun(folder):
    record(folder, COMPARE)
    with pytest.raises(RequestError, match="plan --register: the first search began on"):
        register(folder, COMPARE, KEYS)
    assert standing(folder, COMPARE, KEYS) is None
