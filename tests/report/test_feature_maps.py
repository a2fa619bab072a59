import re

import numpy as np
import pytest

from raysweep.errors import RequestError
from raysweep.randomness import generator
from raysweep.report.feature_maps import read_feature_maps
from raysweep.report.umap_points import umap_points
from raysweep.storage import Storage
from raysweep.transfer.features import write_features

from .fake_study import classification, make_cell, segmentation, write_cell
from .fake_task import write_task


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two tasks; features of the first lie on a plane: one axis tells the classes apart, the other is noise."""
    home = Storage.open(tmp_path_factory.mktemp("maps"))
    for task, kind, make in (("tissue", "classification", classification), ("glands", "segmentation", segmentation)):
        cell = make_cell(home, "a", task, kind, "linear", 1.0, repeats=1)
        write_cell(home, cell, [make(0, units=30, images=4, skill=0.7)])
        write_task(home.at("tasks", task), task, cell)
    table = home.at("tasks", "tissue").read_table("index.parquet")
    ids, labels = table["id"].to_pylist(), table["label"].to_numpy()
    rng = generator("features")
    plane = np.stack([20.0 * labels, rng.normal(0, 1, len(ids))], axis=1) @ rng.normal(0, 1, (2, 7))
    write_features(home.at("features", "a"), ids[::-1], plane[::-1])
    write_features(home.at("features", "b"), ids, rng.normal(0, 1, (len(ids), 7)))
    write_features(home.at("features", "short"), ids[1:], plane[1:])
    return home


def maps_of(home: Storage, names=("a", "b"), task="tissue"):
    features = {(name, task): home.at("features", name) for name in names}
    return read_feature_maps(features, {task: home.at("tasks", task)}, 0)


def test_a_map_shows_the_components_by_class(home):
    [found] = maps_of(home)
    assert list(found.classes) == ["stroma", "tumour"]
    assert "a 100 %" in found.alt, "two axes hold a plane"
    assert 30 < int(re.search(r"b (\d+) %", found.alt)[1]) < 50, "two of seven directions of noise, the widest"
    assert "160 images of the task" in found.caption
    assert found.figure.count("<use") == 2 * 160
    places = [np.array([[float(x), float(y)] for x, y in re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', group)])
              for group in re.findall(r'<g id="line2d_\d+">(.*?)</g>\s*</g>', found.figure, flags=re.S)]  # fmt: skip
    stroma, tumour = (p for p in places[:2])
    assert stroma[:, 0].max() < tumour[:, 0].min() or tumour[:, 0].max() < stroma[:, 0].min()


def test_the_same_map_again(home):
    assert maps_of(home)[0].figure == maps_of(home)[0].figure


def test_what_cannot_be_drawn_is_left_out(home):
    [found] = maps_of(home, ("a", "short", "gone"))
    assert found.note == "2 more checkpoints are not drawn."
    assert maps_of(home, ("gone",)) == []
    assert maps_of(home, ("a",), "glands") == [], "masks are no label of an image"
    assert read_feature_maps({("a", "tissue"): home.at("features", "a")}, {}, 0) == []


def test_without_umap_the_page_says_how_to_get_it(home):
    [found] = maps_of(home)
    assert found.umap is None
    assert "pip install 'raysweep[umap]'" in found.umap_note


def test_umap_keeps_classes_apart_and_is_the_same_again(home):
    pytest.importorskip("umap", reason="umap-learn is not installed: pip install 'raysweep[umap]'")
    table = home.at("tasks", "tissue").read_table("index.parquet")
    labels, rng = table["label"].to_numpy(), generator("features")
    plane = np.stack([20.0 * labels, rng.normal(0, 1, len(labels))], axis=1) @ rng.normal(0, 1, (2, 7))
    points = umap_points(plane)
    assert points.shape == (len(labels), 2)
    assert np.abs(points).max() == 1
    np.testing.assert_array_equal(points, umap_points(plane))
    near = ((points[:, None] - points[None]) ** 2).sum(-1) + np.diag(np.full(len(points), np.inf))
    assert (labels[near.argmin(axis=1)] == labels).mean() > 0.98
    features = {("a", "tissue"): home.at("features", "a")}
    [found] = read_feature_maps(features, {"tissue": home.at("tasks", "tissue")}, 0, umap=True)
    assert found.umap.figure.count("<use") == 160
    assert found.umap.figure_name == "umap-tissue"


def test_a_report_with_umap_cannot_be_made_again_without_it(monkeypatch):
    monkeypatch.setattr("raysweep.report.umap_points.umap_installed", lambda: False)
    with pytest.raises(
        RequestError, match=r"umap-learn draws and is not installed here; pip install 'raysweep\[umap\]'"
    ):
        umap_points(np.zeros((5, 3)))
