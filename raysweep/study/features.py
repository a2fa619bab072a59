"""Compute the embeddings that frozen protocols need, each once, on Ray."""

import ray

from raysweep.errors import reason_of
from raysweep.progress import Progress
from raysweep.study.graph import FeaturesPlan
from raysweep.transfer.features import compute_features


def make_features(plans: list[FeaturesPlan], *, threads: int, progress: Progress) -> dict[str, str]:
    """Make every feature set. Returns those that failed: folder root -> reason."""
    if not plans:
        return {}
    gpus = min(1.0, ray.cluster_resources().get("GPU", 0.0))
    compute = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=3)(_one)
    waiting = {compute.remote(plan, threads, gpus > 0): plan for plan in plans}
    lost = {}
    with progress.stage("features", len(plans), "sets") as stage:
        while waiting:
            done, _ = ray.wait(list(waiting))
            plan = waiting.pop(done[0])
            try:
                ray.get(done[0])
                stage.advance()
            except Exception as error:
                cause = getattr(error, "cause", None) or error
                lost[plan.artefact.folder.root] = reason_of(cause)
                stage.note(f"features {plan.artefact.folder.root}: failed ({reason_of(cause)})")
                stage.advance(failed=1)
    return lost


def _one(plan: FeaturesPlan, threads: int, gpu: bool) -> None:
    compute_features(plan.checkpoint.folder, plan.task.folder, plan.artefact, threads=threads, gpu=gpu)
