"""Preparing a data set: what is checked, and whose licence was accepted."""

import pytest

from raysweep.errors import RequestError
from raysweep.tasks.prepare import licence_accepted, prepare

LICENCE = {"name": "research only", "restricted": True, "url": "https://example.org/terms"}


@pytest.fixture
def data(tmp_path, write_image, monkeypatch):
    monkeypatch.setenv("RAYSWEEP_HOME", str(tmp_path / "home"))
    for label in "ab":
        for number in range(8):
            write_image(tmp_path / "data" / "toy" / label / f"{number}.png", number)
    (tmp_path / "data" / "toy" / "a" / "7.png").write_text("broken")
    return tmp_path / "data"


@pytest.fixture
def card(make_card):
    return make_card(layout={"type": "image_folder"}, unit="image", licence=LICENCE)


def test_a_restricted_licence_is_accepted_once_and_until_it_changes(data, card, make_card):
    assert not licence_accepted(card)
    with pytest.raises(RequestError, match=r"research only \(https://example\.org/terms\); read it, then add --accept"):
        prepare(card, data, accept=False)
    assert not licence_accepted(card)
    prepare(card, data, accept=True)
    assert licence_accepted(card)
    prepare(card, data, accept=False)
    changed = card.model_copy(update={"licence": card.licence.model_copy(update={"name": "stricter"})})
    assert not licence_accepted(changed)
    assert not licence_accepted(card.model_copy(update={"name": "another"}))


def test_a_free_licence_needs_no_acceptance_and_leaves_no_record(data, make_card, tmp_path):
    card = make_card(layout={"type": "image_folder"}, unit="image")
    assert licence_accepted(card)
    prepare(card, data, accept=True)
    assert not (tmp_path / "home" / "licences").exists()


def test_a_broken_record_is_no_acceptance(data, card, tmp_path):
    (tmp_path / "home" / "licences").mkdir(parents=True)
    for text in ("{", "[]", "{}"):
        (tmp_path / "home" / "licences" / "toy.json").write_text(text)
        assert not licence_accepted(card)


def test_the_summary_counts_and_lists_what_cannot_be_used(data, card):
    summary = prepare(card, data, accept=True)
    assert (summary.n_images, summary.n_units) == (15, 15)
    assert summary.per_class == {"a": 7, "b": 8}
    assert summary.test_sizes == [4]
    assert [name for name, _ in summary.excluded] == ["a/7.png"]
    text = str(summary)
    assert text.startswith("toy: 15 images in ")
    assert "1 cannot be used:\n  a/7.png: the image cannot be read: not a picture in a format that is read" in text


def test_a_folder_that_is_not_what_the_card_says_is_refused(data, card):
    with pytest.raises(RequestError, match="n_images"):
        prepare(card.model_copy(update={"n_images": 17}), data, accept=True)
