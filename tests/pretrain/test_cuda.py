"""What only a GPU shows: bfloat16, pinned memory, torch's shared norms. Skipped where there is none."""

import multiprocessing as mp
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from raysweep.backbones.checkpoint import FILE, load_checkpoint
from raysweep.backbones.create import create_backbone
from raysweep.pretrain.inputs import make_method, settings
from raysweep.pretrain.loop import build_module, train
from raysweep.pretrain.method import TrainingProgress
from raysweep.pretrain.methods import method_names
from raysweep.pretrain.optimiser import Optimiser
from raysweep.pretrain.parallel import Step
from raysweep.pretrain.spec import CheckpointSpec
from raysweep.storage import Storage
from tests.pretrain import ranks
from tests.pretrain.test_methods import SMALL, backbone_for, px_for

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("name", method_names())
def test_a_step_in_bfloat16_is_near_that_in_float32(name):
    """Networks in bfloat16, losses in float32; every trained parameter gets a gradient in float32."""
    losses = []
    for half in (False, True):
        method = make_method(name, SMALL[name])
        module = build_module(method, create_backbone(backbone_for(name), seed=0), ranks.SOURCES, 3).cuda().train()
        whole = ranks.global_batch(name, SMALL[name], 0, 8, px_for(name))
        batch = type(whole)(
            [view.float().cuda() for view in whole.views], whole.labels.cuda(), whole.sources.cuda(), whole.keys, 5, 0
        )
        now = TrainingProgress(5, 10, 5, 10)
        method.before_step(module, now)
        loss, _ = Step(method, module, half=half)(batch, now)
        loss.backward()
        assert loss.dtype == torch.float32
        trained = [p for p in module.parameters() if p.requires_grad and p.grad is not None]
        assert all(p.grad.dtype == torch.float32 and bool(torch.isfinite(p.grad).all()) for p in trained)
        losses.append(float(loss))
    assert losses[1] == pytest.approx(losses[0], rel=0.05, abs=0.05)


@pytest.mark.parametrize("method", ["supervised", "simclr"])
def test_a_training_on_the_gpu(method, tmp_path, patch_set):
    """Pinned crops, views coloured on the device, a state in the middle, and the checkpoint."""
    out = Storage.open(tmp_path)
    train(ranks.job(out, patch_set, backbone="test_resnet", method=method, epochs=2, batch=50, save=4), device="cuda")
    assert out.exists(FILE)
    assert out.names("resume", "states")
    model, _ = load_checkpoint(out)
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())


def _rank(rank: int, folder: str, patches: Storage) -> None:
    torch.cuda.set_device(rank)
    dist.init_process_group("nccl", init_method=(Path(folder) / "store").as_uri(), rank=rank, world_size=2)
    keys = {"backbone": "test_resnet", "method": "simclr", "epochs": 1, "precision": "float32", "lr": 0.002}
    train(ranks.job(Storage.open(folder), patches, optimizer="sgd", **keys), rank=rank, world=2, device=f"cuda:{rank}")
    dist.destroy_process_group()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_do_what_one_does(tmp_path, patch_set):
    """torch's SyncBatchNorm and gathered negatives."""
    two, one = tmp_path / "two", tmp_path / "one"
    two.mkdir()
    ranks_of = [mp.get_context("spawn").Process(target=_rank, args=(r, str(two), patch_set)) for r in range(2)]
    for process in ranks_of:
        process.start()
    for process in ranks_of:
        process.join(300)
        assert process.exitcode == 0
    keys = {"backbone": "test_resnet", "method": "simclr", "epochs": 1, "precision": "float32", "lr": 0.002}
    train(ranks.job(Storage.open(one), patch_set, optimizer="sgd", **keys), device="cuda")
    shared, alone = (load_checkpoint(Storage.open(folder))[0].state_dict() for folder in (two, one))
    for name, value in alone.items():
        torch.testing.assert_close(shared[name], value, rtol=2e-2, atol=2e-3)


def test_heads_may_be_idle():
    """A source without a sample in the batch: its head has a gradient of 0, and the optimiser takes the step."""
    method = make_method("multitask", {})
    module = build_module(method, create_backbone("test_resnet", seed=0), ranks.SOURCES, 3).cuda().train()
    whole = ranks.global_batch("multitask", {}, 0, 8, 32)
    batch = type(whole)(
        [whole.views[0].float().cuda()], whole.labels.cuda(), torch.zeros(8, dtype=torch.int64).cuda(), whole.keys, 5, 0
    )
    chosen = settings(CheckpointSpec(backbone="test_resnet", method="multitask", patches="p"))
    assert chosen is not None
    optimiser = Optimiser(method, module, chosen)
    before = module.heads[1].weight.detach().clone()
    now = TrainingProgress(0, 9, 0, 1)
    optimiser.lead(now)
    Step(method, module, half=True)(batch, now)[0].backward()
    optimiser.step()
    assert torch.equal(module.heads[1].weight, before)
