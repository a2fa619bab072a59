import pytest

from raysweep.backbones.published import list_cards
from raysweep.report.licences import ALLOWED, FORBIDDEN, NOT_KNOWN, commercial_use, licences_table
from raysweep.storage import Storage

from .fake_study import write_checkpoint


@pytest.mark.parametrize(
    ("licence", "word"),
    [("CC BY-NC-SA 4.0", FORBIDDEN), ("cc-by-nc-4.0", FORBIDDEN), ("Non Commercial", FORBIDDEN),
     ("noncommercial", FORBIDDEN),
     ("research use only, no commercial use", FORBIDDEN), ("research only", FORBIDDEN),
     ("CC BY 4.0", ALLOWED), ("cc-by-sa-4.0", ALLOWED), ("CC0", ALLOWED), ("apache-2.0", ALLOWED), ("MIT", ALLOWED),
     ("BSD-3-Clause", ALLOWED), ("CC BY-ND 4.0", NOT_KNOWN), ("other", NOT_KNOWN), ("limited", NOT_KNOWN),
     ("not stated", NOT_KNOWN), ("Incubator licence", NOT_KNOWN)],
)  # fmt: skip
def test_commercial_use_by_name(licence, word):
    assert commercial_use(licence) == word


def test_names_of_published_models_licences_say_what_their_cards_say():
    known = [card for card in list_cards() if card.licence.commercial != "unknown"]
    assert known
    for card in known:
        assert commercial_use(card.licence.name) in (card.licence.commercial, NOT_KNOWN), card.name


def test_every_licence_of_a_lineage_has_a_row(tmp_path):
    home = Storage.open(tmp_path)
    parent = {"backbone": "vit", "init": "published:uni2-h", "licence": "CC-BY-NC-ND-4.0"}
    write_checkpoint(home.at("ours"), init="checkpoint:ff", method="simclr", licence="MIT", parents=[parent])
    write_checkpoint(home.at("timm"), init="timm:resnet50.tv_in1k", licence="bsd-3-clause")
    write_checkpoint(home.at("none"))
    table, warning = licences_table({}, {"ours": [home.at("gone"), home.at("ours")], "timm": [home.at("timm")],
                                         "random": [home.at("none")], "later": [home.at("gone")]})  # fmt: skip
    assert [row[1:4] for row in table.rows] == [
        ["ours", "CC-BY-NC-ND-4.0", "forbidden"], ["ours", "MIT", "allowed"], ["timm", "bsd-3-clause", "allowed"],
        ["random", "own weights", ""],
    ]  # fmt: skip
    assert warning == "Commercial use is forbidden by the licence of ours (CC-BY-NC-ND-4.0)."
