"""How much memory a task may ask Ray for."""

import ray


def node_memory(wanted_bytes: float) -> int:
    """Bytes that a task asks Ray for which takes `wanted_bytes`: no more than some node has, or it would never begin.

    0 where no node is alive that has any, as on a cluster whose first node is still to come. Ray must be running.
    """
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return int(min(wanted_bytes, max((resources.get("memory", 0) for resources in alive), default=0)))
