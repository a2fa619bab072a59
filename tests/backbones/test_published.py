"""Every card makes the model that it says, and the layout in which its weights are published fits it."""

import importlib.resources
import re

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem
from torch import Tensor, nn

from raysweep.backbones import published
from raysweep.backbones.checkpoint import FILE, export_checkpoint, load_checkpoint, save_checkpoint
from raysweep.backbones.create import create_backbone
from raysweep.backbones.given import Given
from raysweep.backbones.init import check_init, init_identity, initial_weights
from raysweep.backbones.published import Card, fetch, find_card, list_cards
from raysweep.errors import RequestError, WorkError
from raysweep.storage import Storage

from .test_adapt import hugging_face

_CARDS = {card.name: card for card in list_cards()}
_KNOWN = {  # name -> (length of the features, millions of parameters), as the models' own pages say
    "uni2-h": (1536, 681), "virchow2": (2560, 631), "h-optimus-0": (1536, 1135), "h-optimus-1": (1536, 1135),
    "phikon-v2": (1024, 303), "prov-gigapath": (1536, 1135), "kaiko-vits8": (384, 22), "kaiko-vits16": (384, 22),
    "kaiko-vitb8": (768, 86), "kaiko-vitb16": (768, 86), "kaiko-vitl14": (1024, 303), "lunit-dino-p8": (384, 22),
    "lunit-dino-p16": (384, 22), "lunit-bt": (2048, 24), "lunit-mocov2": (2048, 24), "lunit-swav": (2048, 24),
}  # fmt: skip
_DISTINCT = list({(c.backbone, str(c.model_args), c.pool): c.name for c in reversed(_CARDS.values())}.values())
IMAGES = torch.linspace(-1, 1, 3 * 224 * 224).view(1, 3, 224, 224)


def small(card: Card) -> Card:
    """The same architecture with two narrow blocks."""
    fewer: dict[str, object] = {"depth": 2, "embed_dim": 48, "num_heads": 3}
    if card.backbone == "resnet50":
        fewer = {"layers": (1, 1, 1, 1), "channels": (8, 16, 32, 64)}
    return card.model_copy(update={"model_args": {**card.model_args, **fewer}})


def as_published(card: Card, model: nn.Module) -> dict[str, Tensor]:
    """The model's weights under the names of the card's file."""
    if card.name == "phikon-v2":
        return hugging_face(model, "dinov2", "")
    return dict(model.state_dict())


def test_the_cards_ship_with_the_package():
    folder = importlib.resources.files("raysweep.backbones") / "published"
    names = sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))
    assert names == list(_CARDS) == sorted(_KNOWN)


@pytest.mark.parametrize("name", _DISTINCT)
def test_a_card_makes_the_model_that_it_says(name):
    card = _CARDS[name]
    with torch.device("meta"), torch.no_grad():
        model = create_backbone(card.backbone, seed=0, arguments=card.model_args, pool=card.pool).eval()
        features = model(torch.zeros(1, 3, card.px, card.px))
    width, millions = _KNOWN[name]
    assert features.shape == (1, width)
    assert model.num_features == width
    assert round(sum(p.numel() for p in model.parameters()) / 1e6) == millions


@pytest.mark.parametrize("name", _CARDS)
def test_published_weights_give_the_same_features_here(name, tmp_path, monkeypatch):
    card = small(_CARDS[name])
    monkeypatch.setattr(published, "_cards", lambda: {name: card})
    source = create_backbone(card.backbone, seed=1, arguments=card.model_args, pool=card.pool).eval()
    file = tmp_path / "weights.pth"
    torch.save(as_published(card, source), file)
    initial = initial_weights(str(file), None, seed=2, given=Given(card=name))
    info = initial.info
    model = create_backbone(info.backbone, seed=0, arguments=info.arguments, pool=info.pool).eval()
    model.load_state_dict(initial.weights)
    with torch.no_grad():
        assert torch.equal(model(IMAGES), source(IMAGES))
    assert (initial.missing, initial.strays) == ([], [])
    assert (info.mean, info.std, info.px, info.mpp) == (card.mean, card.std, card.px, card.mpp)
    assert info.licence == card.licence.name
    assert set(info.sources) == {"file:weights.pth", *card.sources}


def test_the_class_token_is_joined_with_the_mean_of_the_patches_alone():
    """Virchow2's page: `output[:, 0]` beside the mean of `output[:, 5:]`; tokens 1 to 4 are registers."""
    card = small(_CARDS["virchow2"])
    plain, joined = (
        create_backbone(card.backbone, seed=1, arguments=card.model_args, pool=pool).eval()
        for pool in (None, card.pool)
    )
    assert list(plain.state_dict()) == list(joined.state_dict())
    with torch.no_grad():
        tokens = plain.forward_features(IMAGES)
        expected = torch.cat([tokens[:, 0], tokens[:, 5:].mean(1)], dim=-1)
        assert tokens.shape[1] == 5 + 16**2
        torch.testing.assert_close(joined(IMAGES), expected)


def test_weights_of_the_hub_come_from_its_cache(tmp_path, monkeypatch):
    card = small(_CARDS["lunit-dino-p16"])
    monkeypatch.setattr(published, "_cards", lambda: {card.name: card})
    source = create_backbone(card.backbone, seed=1, arguments=card.model_args, pool=card.pool)
    torch.save(source.state_dict(), tmp_path / "pytorch_model.bin")
    asked = []

    def cached(repository: str, file: str) -> str:
        asked.append((repository, file))
        if not (tmp_path / file).exists():
            raise LocalEntryNotFoundError("offline")
        return str(tmp_path / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", cached)
    initial = initial_weights("published:lunit-dino-p16", None, seed=2)
    assert asked == [(card.repository, "model.safetensors"), (card.repository, "pytorch_model.bin")]
    assert all(torch.equal(initial.weights[k], v) for k, v in source.state_dict().items())
    assert initial.info.init == card.identity
    assert initial.info.sources == ["TCGA"]


def test_without_network_and_cache_it_says_which_file_to_put_where(monkeypatch):
    def offline(repository: str, file: str) -> str:
        raise LocalEntryNotFoundError("cannot reach\n the hub")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    with pytest.raises(WorkError) as caught:
        fetch(_CARDS["uni2-h"])
    said = str(caught.value)
    assert "pytorch_model.bin of MahmoodLab/UNI2-h is not in the cache" in said
    assert "accept the terms on https://huggingface.co/MahmoodLab/UNI2-h" in said
    assert said.endswith("write init: THAT_FILE and card: uni2-h")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("init", "backbone", "given", "says"),
    [
        ("published:uni2", None, {}, "there is no card of it; did you mean uni2-h"),
        ("published:virchow2", "resnet50", {}, "virchow2 is a vit_huge_patch14_224; leave backbone out"),
        ("published:virchow2", None, {"card": "virchow2"}, "names its card already; leave card out"),
        ("random", "resnet50", {"card": "uni2-h"}, "init random is no file"),
        ("published:lunit-bt", None, {"pool": "token"}, "resnet50 is no vision transformer"),
    ],
)
def test_what_a_card_cannot_be(init, backbone, given, says):
    with pytest.raises(RequestError, match=re.escape(says)):
        check_init(init, backbone, Given(**given))


def test_what_is_said_of_a_model_is_in_its_identity_and_the_rest_is_not():
    card = find_card("uni2-h")
    assert init_identity("published:uni2-h", None, card) == card.identity
    assert card.model_copy(update={"title": "x", "paper": "y"}).identity == card.identity
    for change in ({"mpp": 0.25}, {"mean": (0.5, 0.5, 0.5)}, {"model_args": {}}, {"sources": []}):
        assert card.model_copy(update=change).identity != card.identity


@pytest.fixture
def uni(tmp_path, monkeypatch):
    """The card of weights that may not be passed on, small; and a file of such weights."""
    card = small(_CARDS["uni2-h"])
    monkeypatch.setitem(published._cards(), card.name, card)
    model = create_backbone(card.backbone, seed=7, arguments=card.model_args, pool=card.pool).eval()
    torch.save(as_published(card, model), tmp_path / "weights.bin")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repository, file: str(tmp_path / "weights.bin"))
    return card, model


@pytest.mark.parametrize("by", ["card", "file"])
def test_weights_that_may_not_be_passed_on_are_kept_by_reference(by, uni, tmp_path):
    """The checkpoint has no tensor but their hash; loading takes them from where they are; other ones are refused."""
    card, model = uni
    file = tmp_path / "weights.bin"
    init, given = ("published:uni2-h", None) if by == "card" else (str(file), Given(card="uni2-h"))
    initial = initial_weights(init, None, seed=0, given=given)
    folder = Storage.open(tmp_path / "study/checkpoint")
    save_checkpoint(folder, initial.weights, initial.info)
    assert folder.size(FILE) < 5000
    assert tmp_path.as_posix() not in folder.read_bytes(FILE).decode("latin1")
    loaded, info = load_checkpoint(folder)
    assert info.reference is not None
    assert torch.equal(loaded(IMAGES), model(IMAGES))
    child = initial_weights("checkpoint", None, seed=0, parent=folder)
    assert torch.equal(child.weights["norm.weight"], model.state_dict()["norm.weight"])
    deeper = folder.at("resume", "start")
    save_checkpoint(deeper, child.weights, child.info)
    assert deeper.size(FILE) < 5000
    assert torch.equal(load_checkpoint(deeper)[0](IMAGES), model(IMAGES))

    other = create_backbone(card.backbone, seed=8, arguments=card.model_args, pool=card.pool)
    torch.save(as_published(card, other), file)
    with pytest.raises(WorkError, match=r"init published:uni2-h: weights.bin is another file now"):
        load_checkpoint(folder)
    file.unlink()
    if by == "file":
        with pytest.raises(WorkError, match=rf"uni2-h forbids to copy them, and {file} is gone; put the file back"):
            load_checkpoint(folder)


def test_what_a_forbidding_file_lacks_is_drawn_again_the_same(uni, tmp_path):
    weights = torch.load(tmp_path / "weights.bin")
    del weights["patch_embed.proj.bias"]
    torch.save(weights, tmp_path / "weights.bin")
    given = Given(card="uni2-h", allow_missing=["patch_embed.*"])
    initial = initial_weights(str(tmp_path / "weights.bin"), None, seed=5, given=given)
    assert initial.missing == ["patch_embed.proj.bias"]
    folder = Storage.open(tmp_path / "checkpoint")
    save_checkpoint(folder, initial.weights, initial.info)
    assert folder.size(FILE) < 5000
    loaded = load_checkpoint(folder)[0].state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in initial.weights.items())


def test_a_checkpoint_on_object_storage_points_to_no_file_of_a_machine(uni, tmp_path):
    initial = initial_weights(str(tmp_path / "weights.bin"), None, seed=0, given=Given(card="uni2-h"))
    store = Storage(SubTreeFileSystem(str(tmp_path), LocalFileSystem()), "bucket")
    with pytest.raises(RequestError, match=r"init weights.bin: the licence of uni2-h forbids .* published:uni2-h$"):
        save_checkpoint(store, initial.weights, initial.info)
    assert not store.exists()


@pytest.mark.parametrize("by", ["card", "file", "hub"])
def test_weights_that_may_not_be_passed_on_are_not_exported_whatever_became_of_them(by, uni, tmp_path):
    """Neither as they are, nor trained, nor trained from those; also of folders that hold them in full."""
    init, given = ("published:uni2-h", None) if by == "card" else (str(tmp_path / "weights.bin"), Given(card="uni2-h"))
    initial = initial_weights(init, None, seed=0, given=given)
    copied = initial.info.model_copy(update={"reference": None})
    if by == "hub":  # as they were made before
        copied = copied.model_copy(update={"init": "hf-hub:MahmoodLab/UNI2-h@main"})
    trained = copied.model_copy(update={"method": "simclr", "patches": "a"})
    child = copied.model_copy(update={"init": "checkpoint:a", "method": "byol", "parents": trained.lineage()})
    for number, info in enumerate([*([] if by == "hub" else [initial.info]), copied, trained, child]):
        folder = Storage.open(tmp_path / f"{number}")
        save_checkpoint(folder, initial.weights, info)
        with pytest.raises(RequestError, match=r"the licence of uni2-h forbids to pass on its weights and what was"):
            export_checkpoint(folder, tmp_path / "out")
    free = child.model_copy(update={"parents": []})
    save_checkpoint(folder, initial.weights, free)
    export_checkpoint(folder, tmp_path / "out")


def test_weights_of_the_hub_that_may_not_be_passed_on_are_asked_for_by_their_card():
    with pytest.raises(RequestError, match=r"init hf-hub:MahmoodLab/UNI2-h: .* write init: published:uni2-h"):
        check_init("hf-hub:MahmoodLab/UNI2-h", None)
    check_init("hf-hub:prov-gigapath/prov-gigapath", None)
