"""Shared fixtures. One local Ray serves every test that needs it and ends with the test run."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("patient", deadline=None)  # a machine that others use is slow at times
settings.load_profile("patient")

os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # before ray is imported: tests use no token
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 lets tests that use it starve beside those that do not
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two cores, several processes
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin while they wait keep others off the cores
_run = tempfile.TemporaryDirectory(prefix="raysweep-tests-")  # once for all workers of a test run, which inherit these:
for _name in ("RAYSWEEP_HOME", "RAYSWEEP_TEST_DRAWN"):  # what is remembered of this machine; what `tests.drawn` draws
    if _name not in os.environ:
        os.environ[_name] = f"{_run.name}/{_name.lower()}"
        os.mkdir(os.environ[_name])


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A local Ray with four logical CPUs."""
    import ray

    from raysweep.stopping import heed_ctrl_c

    heed_ctrl_c()  # tests may be started with `&` or nohup
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(
            "local", num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=256 * 2**20
        )  # fmt: skip
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real slides and labelled sets."""
    folder = os.environ.get("RAYSWEEP_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("RAYSWEEP_TEST_DATA does not name the folder of test data")
    return Path(folder)
