"""What `pretraining` compares with: how people load and train without raysweep. Each runs in a fresh process."""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.pairs import READY
from tests.benchmarks.pretraining_sides import BATCH, time_batches

# A script as Ray's documentation has it, with a loop that has nothing to do; Ray is started as raysweep starts it.
EMPTY = """
import sys
import time
from pathlib import Path

import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer


def loop(config):
    rank = ray.train.get_context().get_world_rank()
    Path(config["folder"], f"rank{rank}").write_text(str(time.time()))


if __name__ == "__main__":
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    trainer = TorchTrainer(
        loop, train_loop_config={"folder": sys.argv[1]}, scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(name="empty", storage_path=sys.argv[1]),
    )
    trainer.fit()
"""


def loader_peer(patches: str, steps: int) -> dict[str, Any]:
    """torch's DataLoader with two workers: row groups in random order, each row decoded by simplejpeg."""
    import numpy as np
    import pyarrow.parquet as pq
    import simplejpeg
    import torch
    from torch.utils.data import DataLoader, IterableDataset, get_worker_info

    class Rows(IterableDataset):
        def __init__(self) -> None:
            self.shards = sorted(str(path) for path in Path(patches, "shards").glob("*.parquet"))

        def __iter__(self):
            files = [pq.ParquetFile(shard) for shard in self.shards]
            groups = [(file, number) for file in files for number in range(file.num_row_groups)]
            info = get_worker_info()
            epoch = 0
            while True:  # passes follow each other without a pause
                order = np.random.default_rng(epoch).permutation(len(groups))
                for at in order[info.id :: info.num_workers]:
                    file, number = groups[at]
                    table = file.read_row_group(number, columns=["image", "label"])
                    labels = table["label"].to_numpy()
                    for row, image in enumerate(table["image"].to_pylist()):
                        pixels = simplejpeg.decode_jpeg(image["bytes"])
                        yield torch.from_numpy(pixels).permute(2, 0, 1), labels[row]
                epoch += 1

    print(READY, flush=True)
    started = time.perf_counter()
    return time_batches(DataLoader(Rows(), batch_size=BATCH, num_workers=2), steps, started)


def gpu_plain(patches: str, steps: int, batch: int, backbone: str, px: int, device: str = "cuda") -> dict[str, Any]:
    """SimCLR as lightly's documentation has it: PIL transforms in a DataLoader, the step in bfloat16."""
    import timm
    import torch
    from lightly.data import LightlyDataset
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from lightly.transforms import SimCLRTransform

    with tempfile.TemporaryDirectory() as folder:
        write_files(patches, Path(folder))
        data = LightlyDataset(folder, transform=SimCLRTransform(input_size=px))
        loader = torch.utils.data.DataLoader(
            data, batch_size=batch, shuffle=True, drop_last=True, num_workers=os.cpu_count() or 1,
            pin_memory=device == "cuda", persistent_workers=True,
        )  # fmt: skip
        network = timm.create_model(backbone, num_classes=0)
        width = network.num_features
        module = torch.nn.Sequential(network, SimCLRProjectionHead(width, width, 128)).to(device).train()
        loss_of = NTXentLoss()
        optimiser = torch.optim.SGD(module.parameters(), lr=0.06)
        done, began = 0, 0.0
        while True:
            for (first, second), _, _ in loader:
                if done == steps // 3:
                    if device == "cuda":
                        torch.cuda.synchronize()
                    began = time.perf_counter()
                with torch.autocast(device, torch.bfloat16):
                    loss = loss_of(module(first.to(device)), module(second.to(device)))
                loss.backward()
                optimiser.step()
                optimiser.zero_grad()
                done += 1
                if done == steps:
                    loss.item()
                    return {"rate": (steps - steps // 3) * batch / (time.perf_counter() - began)}


def write_files(patches: str, folder: Path) -> None:
    """The pictures of a patch set as files."""
    import pyarrow.parquet as pq

    for shard in sorted(Path(patches, "shards").glob("*.parquet")):
        for image in pq.read_table(shard, columns=["image"])["image"].to_pylist():
            (folder / image["path"]).write_bytes(image["bytes"])
