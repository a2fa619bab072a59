import timm
import torch
from torch import nn

from raysweep.transfer.work import count_work


def test_a_layer_counts_as_on_paper() -> None:
    with torch.device("meta"):
        network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
    work = count_work(network, lambda n: network(torch.zeros(n, 3, 16, 16, device="meta")))
    assert work.parameters == 8 * 27 + 8
    assert work.flops == 2 * 27 * 8 * 16 * 16
    assert work.kept_bytes == 4 * (3 + 8) * 16 * 16  # the convolution's picture, the activation's result


def test_what_is_kept_is_what_torch_keeps_with_values() -> None:
    def kept(device: str) -> float:
        with torch.device(device):
            network = timm.create_model("test_vit", num_classes=0)
            return count_work(network, lambda n: network(torch.zeros(n, 3, 160, 160))).kept_bytes

    counts = {kept("meta") for _ in range(4)}
    assert len(counts) == 1  # whatever memory is given to one tensor after another
    assert abs(counts.pop() / kept("cpu") - 1) < 0.1, "attention keeps no matrix of weights"
