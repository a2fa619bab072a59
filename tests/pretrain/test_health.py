import pytest
import torch

from raysweep.pretrain.health import Health
from raysweep.pretrain.inputs import settings
from raysweep.pretrain.spec import CheckpointSpec


def health(world: int) -> Health:
    chosen = settings(CheckpointSpec(backbone="test_resnet", method="supervised", patches="p"))
    assert chosen is not None
    return Health(world, chosen)


def test_means_of_an_epoch_that_fewer_ranks_end():
    """Two ranks have added 2 and 4 at its first step; one goes on alone and adds 6."""
    alone = health(1)
    alone.restore({"sums": {"loss": 2.0 + 4.0, "gradient_norm": 2.0}, "world": 2, "corrupt": ["a.jpg"]})
    alone.add(1, torch.tensor(6.0), torch.tensor(1.0), {}, [])
    assert alone.means(2) == {"loss": pytest.approx((3.0 + 6.0) / 2), "gradient_norm": pytest.approx(1.0)}
    assert alone.corrupt == ["a.jpg"]


def test_what_is_kept_is_gone_on_from():
    first, second = health(1), health(1)
    first.add(0, torch.tensor(0.1), torch.tensor(0.2), {"spread": torch.tensor(0.3)}, ["a.jpg"])
    second.restore(first.state())
    for one in (first, second):
        one.add(1, torch.tensor(0.7), torch.tensor(0.1), {"spread": torch.tensor(0.9)}, [])
    assert first.means(2) == second.means(2)
    assert second.corrupt == ["a.jpg"]


def test_a_state_keeps_what_every_rank_has_found_corrupt(pair):
    """Rank 0 writes it, and nobody would find the others' again after a resume."""
    assert pair.run("corrupt_in_state") == [["0.jpg", "1.jpg"], ["0.jpg", "1.jpg"]]
