"""Low-rank adapters in a backbone whose own weights stay as they are (Hu et al., ICLR 2022), by peft."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from raysweep.errors import RequestError
from raysweep.randomness import torch_seed


def add_adapters(backbone: nn.Module, *, rank: int, scale: float, seed: int, name: str) -> None:
    """Put an adapter beside every linear layer: attention's and the MLPs'. Only adapters take gradients then.

    A layer W x becomes W x + scale B A x with A drawn from the seed (rank, in) and B zero (out, rank), so that the
    backbone answers as before until it is trained. `scale` is what the paper calls alpha / r; `name` is the
    backbone's, for the sentence of the RequestError that one without linear layers raises.
    """
    layers = [path for path, module in backbone.named_modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise RequestError(f"transfer.adapt: backbone {name} has no linear layers to adapt by lora; use full")
    from peft import LoraConfig, inject_adapter_in_model  # seconds

    config = LoraConfig(r=rank, lora_alpha=rank * scale, target_modules=layers)  # type: ignore[arg-type]  # not whole
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "adapters"))
        inject_adapter_in_model(config, backbone)
    for module in backbone.modules():
        if hasattr(module, "qkv_bias_separate"):  # timm's EVA, BEiT and Swin v2 would read the layer's weight past it
            module.qkv_bias_separate = True  # type: ignore[assignment]
    for path, parameter in backbone.named_parameters():
        parameter.requires_grad_(".lora_" in path)


def merge_adapters(weights: Mapping[str, Tensor], *, scale: float) -> dict[str, Tensor]:
    """The weights of a network with adapters as those of the same network without: W + scale B A under W's name."""
    merged: dict[str, Tensor] = {}
    for name, value in weights.items():
        if ".lora_" in name:
            continue
        layer, base, kind = name.rpartition(".base_layer.")
        if base and kind == "weight":
            down, up = (weights[f"{layer}.lora_{side}.default.weight"] for side in "AB")
            value = value + scale * (up @ down)
        merged[f"{layer}.{kind}" if base else name] = value
    return merged
