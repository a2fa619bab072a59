"""Fine-tuning as a whole: deterministic, touching only its own samples, better with training, clear when it fails."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from raysweep.errors import RequestError, WorkError
from raysweep.storage import Storage
from raysweep.tasks.task import Task
from raysweep.transfer import counting
from raysweep.transfer.finetune_run import FinetuneRun
from raysweep.transfer.images import open_images
from raysweep.transfer.job import Diverged, Evaluation, Job, Run
from raysweep.transfer.metrics import score
from raysweep.transfer.protocol import get_protocol
from raysweep.transfer.schema import predictions_schema
from tests.transfer.tiny import make_job, make_task

KINDS = ["classification", "segmentation"]
SIZES = [(32, 32)] * 6 + [(40, 33), (20, 64)] + [(32, 32)] * 4  # val: larger and smaller than px
TEST = [11, 8, 10, 9]
Make = Callable[..., Storage]


def start(job: Job) -> Run:
    return get_protocol("finetune").start(job)


def finished(job: Job) -> tuple[list[Evaluation], Run]:
    run = start(job)
    evaluations = []
    while (evaluation := run.advance()) is not None:
        evaluations.append(evaluation)
    return evaluations, run


def params(kind: str) -> dict:
    settings = {"lr": 3e-3, "weight_decay": 1e-2, "head_lr_factor": 3.0, "augment": 0.7}
    return settings | ({"dropout": 0.3} if kind == "classification" else {})


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_job_gives_the_same_bits(checkpoint: Make, saved_task: Make, kind: str) -> None:
    job = make_job(checkpoint("test_resnet"), saved_task(kind, SIZES), params=params(kind))
    evaluations, run = finished(job)
    torch.manual_seed(99)  # whatever others do with torch's generator
    again, other = finished(job)
    assert evaluations == again
    assert run.predict(TEST).equals(other.predict(TEST))
    assert [e.step for e in evaluations] == [4, 6]
    different, _ = finished(make_job(job.checkpoint, job.task, params=params(kind), seed=2))
    assert different != evaluations


@pytest.mark.parametrize("kind", KINDS)
def test_predicting_between_changes_nothing(checkpoint: Make, saved_task: Make, kind: str) -> None:
    job = make_job(checkpoint("test_resnet"), saved_task(kind, SIZES), params=params(kind), evaluations=3)
    evaluations, run = finished(job)
    other = start(job)
    other.predict(TEST)
    between = [other.advance()]
    other.predict(TEST)
    between += [other.advance(), other.advance()]
    assert between == evaluations
    assert other.advance() is None
    assert other.predict(TEST).equals(run.predict(TEST))


@pytest.mark.parametrize("kind", KINDS)
def test_one_row_per_asked_sample_in_the_order_asked(checkpoint: Make, saved_task: Make, kind: str) -> None:
    job = make_job(checkpoint("test_resnet"), saved_task(kind, SIZES), batch=2, fold=3)
    run = start(job)
    asked = [9, 7, 6, 9, 0]
    table = run.predict(asked)
    task = Task.load(job.task, job.data)
    assert table.schema.equals(predictions_schema(kind))
    assert table["sample"].to_pylist() == [task.samples[i].id for i in asked]
    assert table["unit"].to_pylist() == [task.samples[i].unit for i in asked]
    assert table["fold"].to_pylist() == [3] * 5
    rows = [run.predict([i]) for i in asked]
    if kind == "classification":
        assert table["label"].to_pylist() == [task.samples[i].label for i in asked]
        for total in map(sum, table["scores"].to_pylist()):
            assert total == pytest.approx(1, abs=1e-5)
        for one, row in zip(rows, table["scores"].to_pylist(), strict=True):
            assert one["scores"][0].as_py() == pytest.approx(row, abs=1e-5)
    else:
        for row, index in zip(table.to_pylist(), asked, strict=True):
            height, width = SIZES[index]
            assert sum(row["tp"]) + sum(row["fp"]) == sum(row["tp"]) + sum(row["fn"]) == height * width  # no padding
        assert pa.concat_tables(rows).equals(table)


def test_only_train_and_val_are_read_while_training(checkpoint: Make, saved_task: Make, tmp_path: Path) -> None:
    task = saved_task("classification", SIZES)
    for index in TEST:
        (tmp_path / f"data/images/{index}.png").unlink()
    evaluations, run = finished(make_job(checkpoint("test_resnet"), task))
    assert len(evaluations) == 2
    with pytest.raises(WorkError, match=r"images/11\.png"):
        run.predict(TEST)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns(checkpoint: Make, saved_task: Make, kind: str) -> None:
    settings = {"lr": 3e-3, "head_lr_factor": 3.0, "augment": 0.1}
    job = make_job(
        checkpoint("test_resnet"), saved_task(kind, SIZES), params=settings, steps=40, evaluations=4, batch=6
    )
    evaluations, run = finished(job)
    assert evaluations[-1].train_loss < 0.6 * evaluations[0].train_loss
    assert min(e.val_loss for e in evaluations[1:]) < evaluations[0].val_loss
    assert score(run.predict(TEST), "accuracy" if kind == "classification" else "dice", kind) > 0.85


@pytest.mark.parametrize("select", ["val_metric", "val_loss", "last"])
def test_select_keeps_the_weights_it_says(
    checkpoint: Make, saved_task: Make, select: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(
        checkpoint("test_resnet"), saved_task("classification", SIZES), steps=4, evaluations=4, select=select
    )
    metrics = iter([0.5, 0.7, 0.7, math.nan])
    monkeypatch.setattr("raysweep.transfer.finetune_run.score", lambda *_: next(metrics))
    losses = [0.9, 0.6, 0.3, 0.4]
    run = start(job)
    plain = run._evaluate  # type: ignore[attr-defined]
    tables = []
    for loss in losses:
        monkeypatch.setattr(run, "_evaluate", lambda indices, loss=loss, **_: (plain(indices)[0], loss))
        assert run.advance() is not None
        tables.append(plain(TEST)[0])
    best = {"val_metric": 2, "val_loss": 2, "last": 3}[select]  # of equal metrics the lower loss
    assert run.predict(TEST).equals(tables[best])
    assert not tables[2].equals(tables[3])


def test_only_a_better_evaluation_replaces_the_weights(checkpoint: Make, saved_task: Make) -> None:
    run = start(make_job(checkpoint("test_resnet"), saved_task("classification", SIZES)))
    assert isinstance(run, FinetuneRun)
    run._keep(0.5, 0.3)
    kept, before = run._kept, run.predict(TEST)
    run._training.until(2)
    for metric, val_loss in ((0.5, 0.3), (math.nan, 0.1), (0.5, 0.4), (0.4, 0.1)):
        run._keep(metric, val_loss)
        assert run._kept is kept
    assert run.predict(TEST).equals(before)  # a copy: training did not change it
    run._keep(0.5, 0.2)
    assert not run.predict(TEST).equals(before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_huge_learning_rate_diverges_which_is_the_settings_own_fault(
    checkpoint: Make, saved_task: Make, kind: str
) -> None:
    job = make_job(checkpoint("test_resnet"), saved_task(kind, SIZES), params={"lr": 1e30}, steps=30)
    with pytest.raises(Diverged, match=r"^training diverged at step \d+: the loss .* lower lr"):
        finished(job)


def test_a_loss_on_val_that_is_no_number_is_divergence_too(
    checkpoint: Make, saved_task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(make_job(checkpoint("test_resnet"), saved_task("classification", SIZES)))
    plain = run._evaluate  # type: ignore[attr-defined]
    monkeypatch.setattr(run, "_evaluate", lambda indices, **_: (plain(indices)[0], math.nan))
    with pytest.raises(Diverged, match="training diverged at step 4: the loss on val is nan"):
        run.advance()


def test_a_missing_image_is_no_divergence(checkpoint: Make, saved_task: Make, tmp_path: Path) -> None:
    task = saved_task("classification", SIZES)
    (tmp_path / "data/images/3.png").unlink()
    with pytest.raises(WorkError, match=r"images/3\.png cannot be read") as caught:
        finished(make_job(checkpoint("test_resnet"), task))
    assert not isinstance(caught.value, Diverged)


def test_wrong_params_and_samples_are_refused(checkpoint: Make, saved_task: Make) -> None:
    folder, task = checkpoint("test_resnet"), saved_task("segmentation", SIZES)
    with pytest.raises(RequestError, match="finetune has no setting 'dropout'"):
        start(make_job(folder, task, params={"lr": 1e-3, "dropout": 0.1}))
    with pytest.raises(RequestError, match="val: no sample"):
        make_job(folder, task, val=[])
    with pytest.raises(RequestError, match="train and val share sample 3"):
        make_job(folder, task, val=[3, 7])


@pytest.mark.parametrize("name", ["test_convnext", "test_efficientnet"])
@pytest.mark.parametrize("kind", KINDS)
def test_other_backbones_train_too(checkpoint: Make, saved_task: Make, name: str, kind: str) -> None:
    evaluations, _ = finished(make_job(checkpoint(name), saved_task(kind, SIZES), steps=2, evaluations=1))
    assert math.isfinite(evaluations[0].val_loss)


def test_backbone_and_head_have_their_own_rates(checkpoint: Make, saved_task: Make) -> None:
    settings = {"lr": 1e-3, "head_lr_factor": 5.0, "weight_decay": 0.1}
    run = start(make_job(checkpoint("test_resnet"), saved_task("segmentation", SIZES), params=settings, steps=40))
    assert isinstance(run, FinetuneRun)
    groups = run._training.optimizer.param_groups
    assert [g["initial_lr"] for g in groups] == pytest.approx([1e-3, 1e-3, 5e-3, 5e-3])
    assert [g["weight_decay"] for g in groups] == [0.1, 0, 0.1, 0]
    assert sum(len(g["params"]) for g in groups) == len(list(run._network.parameters()))
    assert all((p.ndim > 1) == bool(g["weight_decay"]) for g in groups for p in g["params"])
    rates = []
    for _ in range(40):
        rates.append(groups[2]["lr"])
        run._training.optimizer.step()
        run._training.schedule.step()
    assert rates[0] < rates[1] < rates[2] == max(rates) == pytest.approx(5e-3)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 5e-5


@pytest.mark.parametrize("kind", KINDS)
def test_when_memory_runs_out_it_goes_on_in_portions(
    checkpoint: Make, saved_task: Make, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(checkpoint("test_vit" if kind == "classification" else "test_resnet"), saved_task(kind, SIZES))
    calm, _ = finished(job)
    assert [e.micro_batch for e in calm] == [None, None]
    run = start(job)
    assert isinstance(run, FinetuneRun)
    whole = run._network.forward

    def forward(images: torch.Tensor) -> torch.Tensor:
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return whole(images)

    monkeypatch.setattr(run._network, "forward", forward)
    found = [run.advance(), run.advance()]
    assert [e.micro_batch for e in found if e] == [2, 2]
    if kind == "classification":  # a mean, and no batch norm: the same training but for the order of sums
        for one, other in zip(found, calm, strict=True):
            assert one is not None
            assert (one.train_loss, one.val_loss) == pytest.approx((other.train_loss, other.val_loss), rel=1e-4)
    assert run.predict(TEST)["sample"].to_pylist() == [str(i) for i in TEST]


def test_adapters_are_trained_and_kept(checkpoint: Make, saved_task: Make) -> None:
    settings = {"lr": 3e-2, "rank": 4, "augment": 0.1}
    job = make_job(checkpoint("test_vit"), saved_task("classification", SIZES), params=settings, adaptation="lora",
                   steps=40, evaluations=4, batch=6)  # fmt: skip
    run = start(job)
    assert isinstance(run, FinetuneRun)
    before = {name: value.clone() for name, value in run._network.state_dict().items()}
    evaluations, again = finished(job)
    for evaluation in evaluations:
        assert run.advance() == evaluation
    changed = {name for name, value in run._network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if ".lora_" in name or name.startswith("head.")}
    assert evaluations[-1].train_loss < 0.7 * evaluations[0].train_loss
    assert run._kept is not None
    assert run._kept.keys() == changed  # nothing else is copied
    assert run.predict(TEST).equals(again.predict(TEST))
    assert score(run.predict(TEST), "accuracy", "classification") > 0.85
    with pytest.raises(RequestError, match="finetune has no setting 'rank'"):
        start(make_job(job.checkpoint, job.task, params=settings))


def test_frozen_stages_and_statistics_stay(checkpoint: Make, saved_task: Make) -> None:
    folder, task = checkpoint("test_resnet"), saved_task("classification", SIZES)

    def moved(**settings: object) -> set[str]:
        run = start(make_job(folder, task, params={"lr": 1e-2, **settings}))
        assert isinstance(run, FinetuneRun)
        before = {name: value.clone() for name, value in run._network.backbone.state_dict().items()}
        run.advance()
        return {n for n, value in run._network.backbone.state_dict().items() if not torch.equal(value, before[n])}

    everything = moved()
    statistics = {name for name in everything if "running_" in name or "num_batches" in name}
    assert statistics
    assert moved(batch_norm="freeze") == everything - statistics
    stem = {name for name in everything if not name.startswith("layer") or name.startswith("layer1")}
    assert stem & statistics
    assert moved(freeze=2) == everything - stem


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_a_further_test_set_are_predicted(
    checkpoint: Make, saved_task: Make, kind: str, tmp_path: Path
) -> None:
    run = start(make_job(checkpoint("test_resnet"), saved_task(kind, SIZES)))
    run.advance()
    further = Storage.open(tmp_path / "further")
    make_task(tmp_path / "elsewhere", kind, [(50, 40), (33, 32), (32, 32), (40, 32)]).save(further)
    images = open_images(further, str(tmp_path / "elsewhere"))
    table = run.predict([0, 3], images)
    assert table["sample"].to_pylist() == ["0", "3"]
    own = run.predict([0, 3])
    assert not table.equals(own)
    assert table.schema.equals(own.schema)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", KINDS)
def test_on_a_gpu(checkpoint: Make, saved_task: Make, kind: str) -> None:
    job = make_job(checkpoint("test_resnet"), saved_task(kind, SIZES), params=params(kind), steps=40, gpu=True)
    evaluations, run = finished(job)
    assert evaluations[-1].train_loss < evaluations[0].train_loss
    assert run.predict(TEST)["sample"].to_pylist() == [str(i) for i in TEST]


def test_ignored_pixels_are_in_no_count_and_move_no_loss(checkpoint: Make, tmp_path: Path) -> None:
    task = make_task(tmp_path / "data", "segmentation", SIZES)
    card = task.card.model_copy(update={"layout": {"type": "image_mask_pairs", "masks": {"ignore": [255, 254]}}})
    folder, ends = Storage.open(tmp_path / "task"), []
    for values in ((255, 255), (254, 255)):  # what stands there does not matter
        for sample in task.samples:
            path = task.root / str(sample.mask)
            mask = np.array(Image.open(path))
            mask[:, -8:] = values[0]
            mask[-3:] = values[1]
            Image.fromarray(mask).save(path)
        Task(card, task.root, task.samples).save(folder)
        evaluations, run = finished(make_job(checkpoint("test_resnet"), folder, params=params("segmentation")))
        ends.append((evaluations, run.predict(TEST)))
    (evaluations, table), (again, other) = ends
    assert all(math.isfinite(e.val_loss) and math.isfinite(e.train_loss) for e in evaluations)
    assert (again, other) == (evaluations, table)
    tp, fp, fn = (np.array(table[name].to_pylist()).sum(1) for name in ("tp", "fp", "fn"))
    counted = [(height - 3) * (width - 8) for height, width in (SIZES[i] for i in TEST)]
    assert (tp + fn).tolist() == counted, "every labelled pixel, and no other"
    assert (tp + fp).tolist() == counted


def test_objects_are_counted_of_finals_alone_unless_they_select(
    checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, folder = make_task(tmp_path / "data", "segmentation", SIZES), Storage.open(tmp_path / "task")
    looked: list[int] = []
    read = counting.read_instances
    monkeypatch.setattr(counting, "read_instances", lambda task, index: looked.append(index) or read(task, index))
    found = []
    for metrics in (["dice", "pq", "aji"], ["pq", "dice"]):
        layout = {"type": "image_mask_pairs", "masks": {"binarise": True}}
        card = task.card.model_copy(update={"layout": layout, "metrics": metrics})
        Task(card, task.root, task.samples).save(folder)
        evaluations, run = finished(make_job(checkpoint("test_resnet"), folder, select="last"))
        at_val = len(looked)
        found.append((at_val, evaluations, run.predict(TEST)))
        assert len(looked) == at_val + len(TEST)
        looked.clear()
    (none, first, table), (some, second, other) = found
    assert (none, some) == (0, 4), "two evaluations of two images"
    assert [e.val_loss for e in first] == [e.val_loss for e in second]
    assert table["pq"].equals(other["pq"])
    assert table.schema.equals(predictions_schema("segmentation", ["dice", "pq", "aji"]))
