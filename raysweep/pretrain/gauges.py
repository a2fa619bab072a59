"""A pretraining in numbers that a cluster's dashboards show."""

from ray.util.metrics import Gauge

_ABOUT = {
    "loss": "loss of the last step",
    "lr": "learning rate of the last step",
    "images_per_second": "images trained on per second",
    "wait_share": "part of the time that training waits for data",
}


class Gauges:
    """Ray metrics of a training, tagged with the checkpoint: `ray_raysweep_pretrain_loss` and so on.

    Made by the first worker alone, inside Ray.
    """

    def __init__(self, checkpoint: str) -> None:
        self._gauges = {
            name: Gauge(f"raysweep_pretrain_{name}", about, ("checkpoint",)) for name, about in _ABOUT.items()
        }
        self._tags = {"checkpoint": checkpoint}

    def set(self, *, loss: float, lr: float, images_per_second: float, wait_share: float) -> None:
        """How training goes at this moment."""
        now = {"loss": loss, "lr": lr, "images_per_second": images_per_second, "wait_share": wait_share}
        for name, value in now.items():
            self._gauges[name].set(value, self._tags)
