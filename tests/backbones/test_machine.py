"""Measuring on this machine."""

import torch

from raysweep.backbones.machine import machine, torch_threads


def test_more_threads_than_processors_are_not_tried() -> None:
    """A plan with `compute.threads` of a large node would hang on a small machine."""
    before = torch.get_num_threads()
    with torch_threads(9999):
        assert torch.get_num_threads() == machine()["cpus"]
    assert torch.get_num_threads() == before
