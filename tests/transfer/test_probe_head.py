"""A head that starts as a linear probe: the same scores as the probe, from the training samples alone."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from raysweep.storage import Storage
from raysweep.transfer import probe_head
from raysweep.transfer.finetune_run import FinetuneRun
from raysweep.transfer.job import Job
from raysweep.transfer.protocol import get_protocol
from raysweep.transfer.protocols.linear import Linear
from tests.transfer.tiny import make_job

SIZES = [(32, 32)] * 6 + [(40, 33), (20, 64)] + [(32, 32)] * 4
TEST = [11, 8, 9, 10]
PARAMS = {"lr": 1e-3, "head": "probe", "dropout": 0.2}
Make = Callable[..., Storage]


def start(job: Job) -> FinetuneRun:
    run = get_protocol("finetune").start(job)
    assert isinstance(run, FinetuneRun)
    return run


@pytest.mark.parametrize(("backbone", "adaptation"), [("test_resnet", "full"), ("test_vit", "lora")])
def test_it_scores_as_the_linear_probe_before_it_is_trained(
    checkpoint: Make, saved_task: Make, backbone: str, adaptation: str
) -> None:
    job = make_job(checkpoint(backbone), saved_task("classification", SIZES), params=PARAMS, adaptation=adaptation)
    run = start(job)
    features = {part: run._features(np.stack([run._images.get(i).image for i in indices]))
                for part, indices in (("train", job.train), ("test", TEST))}  # fmt: skip
    scorer = Linear().fit(features["train"], np.array([i % 2 for i in job.train]), n_classes=2, values=[0.01], seed=0)
    scores = np.array(run.predict(TEST)["scores"].to_pylist())
    np.testing.assert_allclose(scores, scorer(features["test"])[0], atol=1e-5)
    untrained = start(make_job(job.checkpoint, job.task, params={"lr": 1e-3}, adaptation=adaptation)).predict(TEST)
    assert not np.allclose(scores, untrained["scores"].to_pylist(), atol=1e-3)


def test_what_val_and_the_seed_are_does_not_matter_and_the_fit_is_shared(
    checkpoint: Make, saved_task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(checkpoint("test_resnet"), saved_task("classification", SIZES), params=PARAMS)
    fits = []
    real = probe_head._fitted
    monkeypatch.setattr(probe_head, "_fitted", lambda *given: fits.append(1) or real(*given))
    monkeypatch.setattr(probe_head, "_kept", type(probe_head._kept)())
    runs = [start(make_job(job.checkpoint, job.task, params={**PARAMS, "lr": lr}, val=val, seed=seed))
            for lr, val, seed in ((1e-3, [6, 7], 1), (1e-2, [8], 2))]  # fmt: skip
    one, other = (run.predict(TEST) for run in runs)
    assert one.equals(other)
    assert len(fits) == 1
    fewer = start(make_job(job.checkpoint, job.task, params=PARAMS, train=[0, 1, 2, 3])).predict(TEST)
    assert len(fits) == 2
    assert not fewer.equals(one)
    again = start(job)
    for _ in range(2):
        assert runs[0].advance() == again.advance()
    assert runs[0].predict(TEST).equals(again.predict(TEST))


def test_many_classes_one_of_them_without_a_sample(checkpoint: Make, saved_task: Make) -> None:
    job = make_job(checkpoint("test_resnet"), saved_task("classification", SIZES))
    rng = np.random.default_rng(0)
    features, labels = rng.normal(3, 5, (60, 7)).astype(np.float32), rng.choice([0, 1, 3], 60)
    linear = nn.Linear(7, 4)
    drawn = linear.weight[2].detach().clone(), linear.bias[2].item()
    probe_head.start_from_probe(linear, job, labels, lambda: features)
    logits = linear(torch.from_numpy(features)).detach().numpy()
    scorer = Linear().fit(features, labels, n_classes=4, values=[0.01], seed=0)
    known = np.exp(logits[:, [0, 1, 3]])
    np.testing.assert_allclose(known / known.sum(1, keepdims=True), scorer(features)[0][:, [0, 1, 3]], atol=1e-5)
    assert torch.equal(linear.weight[2], drawn[0])
    assert linear.bias[2].item() == drawn[1]
