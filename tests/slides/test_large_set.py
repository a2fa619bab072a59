"""A patch set several times as large as Ray's object store.

Patches go from the readers to the shards through files of the spool, never through the object store, so nothing is
spilled however small the store is. That the figures would show it if it were is seen at the end.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from .slidemaker import write_slide

STORE_BYTES = 80 * 10**6  # hardly more than the least that Ray allows

# A Ray and a driver of their own. Shards are made smaller than they would be, so that there are more of them than may
# read from the same pieces; the driver decides on their number, so nothing has to reach the workers.
DRIVER = """
import hashlib, json, shutil, subprocess, sys
from pathlib import Path
import numpy as np, ray
import raysweep.patches.write, raysweep.patches.shuffle.divide, raysweep.patches.shuffle.merge
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.entries import read_slides
from raysweep.storage import Storage
from tests.slides.making import make

folder, store = Path(sys.argv[1]), int(sys.argv[2])
raysweep.patches.write.SHARD_BYTES = 12 * 10**6
raysweep.patches.shuffle.divide._GROUP_BYTES = 100 * 10**6
divided, divide = [], raysweep.patches.shuffle.merge.divide


def noted(spool, pieces, edges, *rest):
    divided.append(len(edges) - 1)
    return divide(spool, pieces, edges, *rest)


raysweep.patches.shuffle.merge.divide = noted
context = ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=store)


def memory() -> str:
    address = context.address_info["gcs_address"]
    command = [sys.executable, "-m", "ray.scripts.scripts", "memory", "--stats-only", "--address", address]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


spec = PatchSetSpec(slides="*.svs", um=256, px=512, tissue="all", quality=100)
found = {"store": int(ray.cluster_resources()["object_store_memory"]), "sets": []}
for workers in (1, 2):
    made = make(spec, read_slides(spec, folder), Storage.open(folder / "out"), workers=workers)
    sums = {name: hashlib.blake2b(made.artefact.folder.read_bytes("shards", name)).hexdigest()
            for name in made.artefact.folder.names("shards")}
    found["sets"].append({"shards": sums, "counts": made.artefact.manifest()["counts"]})
    shutil.rmtree(folder / "out")
found["divided"] = divided
found["after tiling"] = memory()
objects = [ray.put(np.ones(store // 3, np.uint8)) for _ in range(6)]
found["after objects"] = memory()
print(json.dumps(found))
"""


@pytest.mark.slow
def test_patches_never_pass_through_the_object_store(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(4):  # noise: a patch of 512 x 512 pixels is a JPEG of half a megabyte
        pixels = rng.integers(0, 256, (4096, 8192, 3), np.uint8)
        write_slide(tmp_path / f"s{number}.svs", pixels, compression="jpeg", tile=256, downsamples=(16,))
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", DRIVER, str(tmp_path), str(STORE_BYTES)]
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=280)
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    one, two = found["sets"]
    assert found["store"] <= STORE_BYTES
    assert one["counts"]["patches"] == 4 * 8 * 16
    assert one["counts"]["bytes"] > 3 * found["store"]
    assert len(one["shards"]) == one["counts"]["shards"] > 16
    assert found["divided"] == [len(one["shards"])] * 2
    assert one["shards"] == two["shards"]
    assert "Plasma memory usage" in found["after tiling"]
    assert "Spilled" not in found["after tiling"]
    assert "Spilled" in found["after objects"]
    for slide in tmp_path.glob("*.svs"):
        slide.unlink()  # pytest keeps the folders of its last runs
