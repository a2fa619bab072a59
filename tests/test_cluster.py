"""The cluster file: Ray accepts it, it scales from zero, and it keeps authentication on."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def test_ray_accepts_the_file(cluster: dict[str, Any]) -> None:
    import ray.autoscaler
    from ray.autoscaler._private.util import prepare_config, validate_config

    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(cluster, schema)
    prepared = prepare_config(cluster)
    validate_config(prepared)
    for commands in (prepared["head_setup_commands"], prepared["worker_setup_commands"]):
        assert commands[: len(cluster["setup_commands"])] == cluster["setup_commands"]
        assert not any("ray-wheels" in command for command in commands)  # Ray's defaults would install another Ray


def test_the_head_computes_nothing_and_workers_scale_from_zero(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    assert types[cluster["head_node_type"]]["resources"] == {"CPU": 0, "GPU": 0}
    workers = {name: spec for name, spec in types.items() if name != cluster["head_node_type"]}
    assert all(spec["min_workers"] == 0 and spec["max_workers"] > 0 for spec in workers.values())
    assert sum(spec["max_workers"] for spec in workers.values()) <= cluster["max_workers"]
    assert any("GPU" in spec["resources"] for spec in workers.values())
    assert any("GPU" not in spec["resources"] for spec in workers.values())  # tiling needs no GPU


def test_every_node_asks_for_the_token(cluster: dict[str, Any]) -> None:
    assert "~/.ray/auth_token" in cluster["file_mounts"]
    starts = [
        command
        for role in ("head", "worker")
        for command in cluster[f"{role}_start_ray_commands"]
        if "ray start" in command
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token " in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert "RAY_AUTH_MODE=disabled" not in (ROOT / "cluster.yaml").read_text()


def test_the_file_holds_no_secret() -> None:
    text = (ROOT / "cluster.yaml").read_text()
    assert not re.search(r"AKIA[0-9A-Z]{16}|aws_secret|BEGIN [A-Z ]*PRIVATE KEY|\b[0-9a-f]{64}\b", text)


def test_everything_that_the_install_needs_is_sent(cluster: dict[str, Any]) -> None:
    sent = {Path(local) for local in cluster["file_mounts"].values() if not local.startswith("~")}
    assert all((ROOT / path).exists() for path in sent)
    project = (ROOT / "pyproject.toml").read_text()
    assert {Path(name) for name in ("pyproject.toml", "README.md", "LICENSE", "raysweep")} <= sent
    included = project.split("[tool.hatch.build.targets.wheel.force-include]")[1].split("[")[0]
    assert {Path(line.split("=")[0].strip()) for line in included.splitlines() if "=" in line} <= sent


def test_the_ray_that_is_installed_is_the_one_tested(cluster: dict[str, Any]) -> None:
    import ray

    installs = " ".join(cluster["setup_commands"])
    assert f'"ray[default]=={ray.__version__}"' in installs
    assert "--python 3.11" in installs
