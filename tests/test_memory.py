import platform
import subprocess
import sys

import pytest

_CODE = """
import resource
import numpy as np
from raysweep.memory import keep_memory
assert {keep} == False or keep_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        np.ones(8 * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_kept() -> None:
    def faults(keep: bool) -> int:
        code = _CODE.format(keep=keep)
        return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)

    assert faults(keep=True) < 100 < faults(keep=False)  # pages that are had anew
