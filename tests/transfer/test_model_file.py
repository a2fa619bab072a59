"""A trained model predicts from its file what it predicted at the end of its training."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from raysweep.backbones.checkpoint import FILE
from raysweep.errors import RequestError, WorkError
from raysweep.storage import Artefact, Storage
from raysweep.tasks.read import read_sample
from raysweep.tasks.task import Task
from raysweep.transfer.features import compute_features
from raysweep.transfer.job import Job, Run
from raysweep.transfer.metrics.pixels import count_pixels
from raysweep.transfer.model_file import TrainedModel, load_model, whole
from raysweep.transfer.model_info import file_of, read_model_info, save_model, write_model
from raysweep.transfer.protocol import get_protocol
from tests.transfer.tiny import make_job

SIZES = [*[(32, 32)] * 8, (32, 32), (45, 60), (20, 24)]  # one window, several, less than one
TESTED = [8, 9, 10]
PATHS = {"linear": {"C": 0.1}, "svm": {"C": 0.1}, "knn": {"k": 3}}


@pytest.fixture
def ended(checkpoint: Callable[..., Storage], saved_task: Callable[..., Storage]) -> Callable[..., tuple[Run, Job]]:
    """ended(protocol, kind, backbone, **changes): a run at its end, and its job."""

    def end(protocol: str, kind: str = "classification", backbone: str = "test_resnet", **changes) -> tuple[Run, Job]:
        weights, task = checkpoint(backbone), saved_task(kind, SIZES)
        job = make_job(weights, task, steps=3, evaluations=2, **changes)
        if protocol in PATHS:
            features = Artefact(Storage.open(Path(task.root).parent / "features"), {"of": protocol})
            compute_features(weights, task, features, data=job.data, threads=1, gpu=False)
            job = replace(job, train=list(range(8)), val=[], params=PATHS[protocol], features=features.folder)
        run = get_protocol(protocol).start(job)
        while run.advance() is not None:
            pass
        return run, job

    return end


def reloaded(run: Run, folder: Path) -> TrainedModel:
    trained = run.trained()
    assert trained is not None
    save_model(Storage.open(folder / "repeat/0"), trained)
    return load_model(Storage.open(folder / "repeat/0"), *file_of(0))


def scores_of(model: TrainedModel, job: Job) -> list[np.ndarray]:
    task = Task.load(job.task, job.data)
    return [model.predict(read_sample(task, index)[0][None])[0] for index in TESTED]


@pytest.mark.parametrize("protocol", ["finetune", *PATHS])
def test_labels_are_those_of_the_run(ended: Callable[..., tuple[Run, Job]], tmp_path: Path, protocol: str) -> None:
    run, job = ended(protocol)
    model = reloaded(run, tmp_path)
    wanted = np.stack(run.predict(TESTED)["scores"].to_pylist())
    np.testing.assert_allclose(np.stack(scores_of(model, job)), wanted, atol=1e-6)
    assert len(np.unique(wanted)) > 1
    info = model.info
    assert (info.protocol, info.task, info.classes, info.fold) == (protocol, "tiny", ["dark", "bright"], 0)
    assert (info.px, info.own_px, info.decoder, info.data_licence) == (32, 32, None, "CC0")
    assert (info.checkpoint.backbone, info.checkpoint.mean) == ("test_resnet", (0.5, 0.4, 0.5))
    assert info.params == (PATHS | {"finetune": {"lr": 3e-3}})[protocol]
    if protocol in PATHS:  # the head alone, and by where the checkpoint is, never at an absolute place
        assert info.backbone is not None
        assert info.backbone == os.path.relpath(job.checkpoint.root, tmp_path / "repeat/0")
        assert model.predict(np.zeros((3, 32, 32, 3), np.uint8)).shape == (3, 2)
        arrays, alone = whole(Storage.open(tmp_path / "repeat/0"), *file_of(0))
        away = Storage.open(tmp_path / "away")
        write_model(away, arrays, alone, "one.safetensors")
        assert alone.backbone is None
        np.testing.assert_array_equal(scores_of(load_model(away, "one.safetensors"), job)[1], scores_of(model, job)[1])


@pytest.mark.parametrize(("backbone", "decoder"), [("test_resnet", "unet"), ("test_vit", {"type": "light"})])
def test_masks_are_those_of_the_run(
    ended: Callable[..., tuple[Run, Job]], tmp_path: Path, backbone: str, decoder: str | dict
) -> None:
    run, job = ended("finetune", "segmentation", backbone, decoder=decoder)
    model = reloaded(run, tmp_path)
    assert model.info.decoder == decoder
    task, rows = Task.load(job.task, job.data), run.predict(TESTED).to_pylist()
    for index, row, scores in zip(TESTED, rows, scores_of(model, job), strict=True):
        truth = read_sample(task, index)[1]
        assert truth is not None
        assert scores.shape == (*truth.shape, 2)
        counts = count_pixels(scores.argmax(-1), truth, 2)
        assert counts.tolist() == [row["tp"], row["fp"], row["fn"]]


def test_adapters_are_merged(ended: Callable[..., tuple[Run, Job]], tmp_path: Path) -> None:
    run, job = ended("finetune", backbone="test_vit", adaptation="lora", params={"lr": 0.05, "rank": 2, "scale": 4.0})
    model = reloaded(run, tmp_path)
    wanted = np.stack(run.predict(TESTED)["scores"].to_pylist())
    np.testing.assert_allclose(np.stack(scores_of(model, job)), wanted, atol=1e-5)
    trained = run.trained()
    assert trained is not None
    assert not [name for name in trained.arrays if "lora" in name or "base_layer" in name]


def test_the_weights_that_were_best_are_kept_not_the_last(
    ended: Callable[..., tuple[Run, Job]], tmp_path: Path
) -> None:
    run, _ = ended("finetune", select="val_metric", params={"lr": 0.3})
    kept = run._kept  # type: ignore[attr-defined]
    trained = run.trained()
    assert kept is not None
    assert trained is not None
    assert all(torch.equal(trained.arrays[name], value) for name, value in kept.items())  # type: ignore[arg-type]


def test_loading_leaves_torchs_generator_as_it_was(ended: Callable[..., tuple[Run, Job]], tmp_path: Path) -> None:
    run, _ = ended("finetune")
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    reloaded(run, tmp_path)
    assert torch.rand(1) == wanted


def test_what_is_no_model_is_one_sentence(ended: Callable[..., tuple[Run, Job]], tmp_path: Path) -> None:
    run, job = ended("knn")
    with pytest.raises(RequestError, match=r"backbone\.safetensors: no trained model of raysweep; give a folder below"):
        read_model_info(job.checkpoint, FILE)
    folder = Storage.open(tmp_path)
    folder.write_bytes(b"nothing", "x.safetensors")
    with pytest.raises(RequestError, match="no trained model"):
        load_model(folder, "x.safetensors")
    trained = run.trained()
    assert trained is not None
    write_model(folder, {}, trained.info, "empty.safetensors")
    with pytest.raises(WorkError, match=r"empty\.safetensors: does not fit test_resnet"):
        load_model(folder, "empty.safetensors")
