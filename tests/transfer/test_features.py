from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.fs as pafs
import pytest
import torch
import torch.nn.functional as F

from raysweep.backbones.checkpoint import load_checkpoint
from raysweep.errors import WorkError
from raysweep.storage import Artefact, Storage
from raysweep.tasks.read import read_sample
from raysweep.tasks.task import Task
from raysweep.transfer.features import compute_features, features_inputs, open_features, write_features
from tests.transfer.tiny import data_of

Make = Callable[..., Storage]


def computed(checkpoint: Storage, task: Storage, home: Path) -> Artefact:
    artefact = Artefact(Storage.open(home), features_inputs("c", "t"))
    compute_features(checkpoint, task, artefact, data=data_of(task), threads=1, gpu=False)
    return artefact


def test_features_are_the_backbones_and_of_every_sample(checkpoint: Make, saved_task: Make, tmp_path: Path) -> None:
    folder, saved = checkpoint("test_resnet"), saved_task("classification", [(32, 32), (32, 64), (32, 32)])
    artefact = computed(folder, saved, tmp_path / "features")
    assert artefact.done()
    assert artefact.manifest()["counts"] == {"samples": 3, "features": 96}
    assert set(artefact.manifest()["timings"]) == {"feature_seconds"}
    ids, features = open_features(artefact.folder)
    assert ids.to_pylist() == ["0", "1", "2"]
    assert features.shape == (3, 96)
    assert features.dtype == np.float32
    backbone, info = load_checkpoint(folder)
    task = Task.load(saved, data_of(saved))

    def plain(pixels: np.ndarray) -> np.ndarray:
        normalised = (pixels / 255 - np.array(info.mean)) / np.array(info.std)
        with torch.no_grad():
            return backbone(torch.tensor(normalised.transpose(2, 0, 1)[None], dtype=torch.float32))[0].numpy()

    first, wide = read_sample(task, 0)[0], read_sample(task, 1)[0]
    np.testing.assert_allclose(features[0], plain(first), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(features[1], (plain(wide[:, :32]) + plain(wide[:, 32:])) / 2, rtol=1e-3, atol=1e-4)


def test_the_same_bits_each_time(checkpoint: Make, saved_task: Make, tmp_path: Path) -> None:
    folder, task = checkpoint("test_resnet"), saved_task("classification", [(32, 32), (50, 40)])
    one, two = (computed(folder, task, tmp_path / name).folder.read_bytes("features.npy") for name in "ab")
    assert one == two


def test_a_window_is_seen_whole_at_the_backbones_own_px(checkpoint: Make, saved_task: Make, tmp_path: Path) -> None:
    folder, saved = checkpoint("test_vit"), saved_task("classification", [(40, 40)], px=40)
    artefact = computed(folder, saved, tmp_path / "features")
    assert artefact.manifest()["config"]["own_px"] == 48
    backbone, info = load_checkpoint(folder)
    image = read_sample(Task.load(saved, data_of(saved)), 0)[0] / 255
    normalised = torch.tensor((image - np.array(info.mean)) / np.array(info.std), dtype=torch.float32)
    seen = F.interpolate(normalised.movedim(-1, 0)[None], (48, 48), mode="bicubic", antialias=True)
    with torch.no_grad():
        expected = backbone(seen)[0].numpy()
    np.testing.assert_allclose(open_features(artefact.folder)[1][0], expected, rtol=1e-3, atol=1e-4)


def test_what_cannot_be_computed_is_one_sentence(checkpoint: Make, saved_task: Make, tmp_path: Path) -> None:
    task = saved_task("classification", [(32, 32)] * 2)
    (tmp_path / "data/images/1.png").write_bytes(b"no image")
    artefact = Artefact(Storage.open(tmp_path / "b"), features_inputs("c", "t"))
    with pytest.raises(WorkError, match=r"images/1\.png"):
        compute_features(checkpoint("test_resnet"), task, artefact, data=data_of(task), threads=1, gpu=False)
    assert not artefact.done()
    with pytest.raises(WorkError, match="features have not been computed"):
        open_features(artefact.folder)


def test_features_are_mapped_where_they_lie_and_fetched_once_from_elsewhere(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(30, 5))
    names = [f"s{i}" for i in range(30)]
    local = Storage.open(tmp_path / "here")
    write_features(local, names, rows)
    ids, features = open_features(local)
    assert isinstance(features, np.memmap)
    assert not features.flags.writeable
    assert Path(str(features.filename)) == tmp_path / "here/features.npy"
    away = Storage(pafs.SubTreeFileSystem("/", pafs.LocalFileSystem()), local.root)  # not local, as far as it says
    assert not away.is_local
    more_ids, fetched = open_features(away)
    assert isinstance(fetched, np.memmap)
    assert not Path(str(fetched.filename)).exists(), "nothing is left behind"
    assert ids.to_pylist() == more_ids.to_pylist() == names
    for found in (features, fetched):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, rows.astype(np.float32))
