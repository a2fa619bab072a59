"""lightly-train's side of `pretraining`: run as a file by the python of an environment that has it and timm.

    python lightly_train_side.py IMAGES '{"batch": 64, "px": 128, "epochs": 4}'

Prints images per second of every epoch but the first, from the time of each step.
"""

import json
import sys
import tempfile
import time

import lightly_train
from lightly_train._methods.simclr.simclr import SimCLR


def main() -> None:
    images, keys = sys.argv[1], json.loads(sys.argv[2])
    times: list[float] = []
    whole = SimCLR.training_step_impl

    def timed(self, batch, batch_idx):
        times.append(time.perf_counter())
        return whole(self, batch, batch_idx)

    SimCLR.training_step_impl = timed  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as out:
        lightly_train.pretrain(
            out=f"{out}/run", data=images, model="timm/regnetx_002", method="simclr", epochs=keys["epochs"],
            batch_size=keys["batch"], num_workers=2, accelerator="cpu", devices=1, precision="32-true",
            transform_args={"image_size": (keys["px"], keys["px"])}, model_args={"pretrained": False},
            callbacks={"model_checkpoint": None},
        )  # fmt: skip
    steps = len(times) // keys["epochs"]
    measured = times[steps:]
    rate = (len(measured) - 1) * keys["batch"] / (measured[-1] - measured[0])
    print(json.dumps({"rate": rate, "steps": len(times)}))


if __name__ == "__main__":
    main()
