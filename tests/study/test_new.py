"""A folder and some weights become a card and a study that can be planned and run."""

import pytest
import timm
import torch

from raysweep.errors import RequestError
from raysweep.study.candidates import find_candidates
from raysweep.study.load import load_study
from raysweep.study.new import new_card, new_study
from raysweep.study.plan import plan_rows
from raysweep.study.shown_card import show_card
from raysweep.tasks.cards import load_card
from raysweep.tasks.prepare import prepare
from tests.drawn import copy_sets


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    copy_sets(folder)
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "test_resnet-own.pth"
    torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), path)
    return path


def test_weights_by_every_kind_of_name(own):
    found = find_candidates(["imagenet", "uni2-h", "resnet18.tv_in1k", str(own), "resnet34.tv_in1k"])
    assert [c.name for c in found] == ["imagenet", "uni2-h", "resnet18.tv_in1k", "test_resnet-own", "resnet34.tv_in1k"]
    assert found[1].keys == {"init": "published:uni2-h"}
    assert found[3].keys == {"backbone": "test_resnet", "init": str(own)}
    assert find_candidates([f"test_resnet={own}"])[0].keys == found[3].keys


def test_imagenet_is_the_architecture_of_the_file_where_there_is_one(own, tmp_path):
    assert find_candidates(["imagenet"])[0].keys["backbone"] == "resnet50.a1_in1k"
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "resnet18.pth")
    assert find_candidates(["imagenet", str(tmp_path / "resnet18.pth")])[0].keys["backbone"] == "resnet18.a1_in1k"


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([], "--with: name the weights to compare, such as imagenet"),
        (
            ["resnet50"],
            "--with resnet50: neither imagenet, .* needs the full tag of the weights; known: resnet50.a1_in1k",
        ),
        (["uni3-h"], "neither imagenet, a published model .*uni2-h"),
        (["gone.pth"], "--with gone.pth: there is no such file of weights"),
        (["imagenet", "imagenet"], "--with imagenet: two checkpoints would be called imagenet"),
        (["hf-hub:someone/model"], "its name says no timm architecture"),
    ],
)
def test_weights_that_are_none_are_a_sentence(weights, words):
    with pytest.raises(RequestError, match=words):
        find_candidates(weights)


@pytest.mark.parametrize(
    ("name", "protocol"),
    [("demo-tissue", "linear"), pytest.param("demo-glands", "finetune", marks=pytest.mark.slow)],
)
def test_a_study_that_can_be_planned(name, protocol, sets, own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in sets.rglob("*")}
    made = new_study(sets / name, [str(own)], tmp_path, name=f"my-{name}")
    assert {path: path.stat().st_mtime_ns for path in sets.rglob("*")} == before  # nothing is written there
    file = load_study(made.study)
    assert file.study.tasks == [f"my-{name}"]
    assert file.study.compare.primary.protocol == protocol
    assert file.study.compare.baseline == "random"
    assert file.study.checkpoints["random"].backbone is not None
    _, rows, notes = plan_rows(file)
    assert sum(row[1].startswith("checkpoint") for row in rows) == 2
    assert any("device-hours" in note for note in notes)
    with pytest.raises(RequestError, match="this study is there already; run it, or remove it"):
        new_study(sets / name, [str(own)], tmp_path, name=f"my-{name}")
    made.study.unlink()
    assert "is used as it is" in new_study(sets / name, [str(own)], tmp_path, name=f"my-{name}").facts[0]


def test_a_card_that_show_and_prepare_accept(sets, tmp_path, monkeypatch):
    monkeypatch.setenv("RAYSWEEP_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    path, draft = new_card(sets / "demo-tissue", tmp_path, name="mine")
    assert path == tmp_path / "datasets/mine.yaml"
    assert draft.card.unit == "patient"
    with pytest.raises(RequestError, match="this card is there already"):
        new_card(sets / "demo-tissue", tmp_path, name="mine")
    with pytest.raises(RequestError, match="a card that ships with raysweep is called so"):
        new_card(sets / "demo-tissue", tmp_path)
    lines, rows = show_card("mine", None, None)
    assert not rows
    assert "its files were not prepared here: --data FOLDER looks at them" in lines[-1]
    card = load_card("mine", [tmp_path])
    summary = prepare(card, sets, accept=False)
    assert not summary.excluded
    lines, rows = show_card("mine", None, tmp_path / "sheet.html")
    assert (["images", f"{summary.n_images:,}"]) in rows
    page = (tmp_path / "sheet.html").read_text()
    assert page.count("<img") == 12 * len(card.classes)
    assert "src='data:image/jpeg;base64," in page
