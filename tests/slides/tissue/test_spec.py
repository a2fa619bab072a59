"""The request is read without the libraries of the work."""

import subprocess
import sys


def test_the_models_need_no_numpy():
    code = "import sys, raysweep.slides.tissue.spec, raysweep.slides.tissue.stains; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
