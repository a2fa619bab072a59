"""Experiment trackers that a training's figures are sent to, where asked. Light: their packages come when one runs."""

import time
import uuid
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, Protocol

from raysweep.errors import RequestError, reason_of
from raysweep.storage import Storage


def check_trackers(names: Sequence[str]) -> None:
    """Raises RequestError for a tracker whose package is not installed here."""
    for name in names:
        found = find_spec(name)
        if found is None or found.origin is None:  # wandb's own folder of runs looks like a package without files
            raise RequestError(
                f"compute.trackers: {name} is not installed; run `pip install 'raysweep[{name}]'`, or take it out"
            )


class Tracker(Protocol):
    """One run in one tracker; where that is and who may write there is said by the tracker's own environment."""

    id: str  # what the run is found by again

    def log(self, figures: dict[str, float], step: int) -> None:
        """Figures of an epoch, counted from 1."""

    def close(self) -> None:
        """The training is complete."""


class Trackers:
    """Those that a training is sent to. A resumed training goes on in the same run.

    A tracker that fails says so once and gets nothing more: the training goes on.
    """

    def __init__(
        self, names: Sequence[str], folder: Storage, *, project: str, run: str, config: dict[str, Any],
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        """folder: the training's, whose `resume` keeps the runs' ids. config: shown beside the run."""
        self._say = say
        self._open: dict[str, Tracker] = {}
        for name in names:
            self._guarded(name, lambda name=name: self._start(name, folder, project, run, config))  # type: ignore[misc]

    def log(self, figures: dict[str, float], step: int) -> None:
        """Send the figures of an epoch, counted from 1."""
        for name, tracker in list(self._open.items()):
            self._guarded(name, lambda tracker=tracker: tracker.log(figures, step))  # type: ignore[misc]

    def close(self) -> None:
        """The training is complete."""
        for name, tracker in list(self._open.items()):
            self._guarded(name, tracker.close)
        self._open = {}

    def _start(self, name: str, folder: Storage, project: str, run: str, config: dict[str, Any]) -> None:
        kept = ("resume", f"{name}.json")
        known = folder.read_json(*kept) if folder.exists(*kept) else None
        tracker = _TRACKERS[name](known, project, run, config)
        self._open[name] = tracker
        if known is None:
            folder.write_json(tracker.id, *kept)

    def _guarded(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # of a network, an account, a server
            self._open.pop(name, None)
            self._say(f"{name} takes no more figures ({reason_of(error)}); the training goes on")


class Wandb:
    """Weights & Biases: `WANDB_MODE=offline`, `WANDB_API_KEY` and so on are its own."""

    def __init__(self, known: str | None, project: str, run: str, config: dict[str, Any]) -> None:
        import wandb

        self.id = known or uuid.uuid4().hex
        quiet = wandb.Settings(
            silent=True, console="off", disable_git=True, save_code=False,
            x_disable_meta=True,  # a worker's command line can hold the password of the cluster
        )  # fmt: skip
        self._run = wandb.init(
            project=project, name=run, id=self.id, resume="allow" if known else None, config=config, settings=quiet
        )

    def log(self, figures: dict[str, float], step: int) -> None:
        self._run.log(figures, step=step)

    def close(self) -> None:
        self._run.finish()


class Mlflow:
    """MLflow: `MLFLOW_TRACKING_URI` says where, by default a SQLite file where the training runs."""

    def __init__(self, known: str | None, project: str, run: str, config: dict[str, Any]) -> None:
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient()
        if known:
            self.id = known
            return
        experiment = self._client.get_experiment_by_name(project)
        where = experiment.experiment_id if experiment else self._client.create_experiment(project)
        self.id = self._client.create_run(where, run_name=run).info.run_id
        self._client.log_batch(self.id, params=[Param(key, str(value)) for key, value in config.items()])

    def log(self, figures: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self.id, metrics=[Metric(key, value, now, step) for key, value in figures.items()])

    def close(self) -> None:
        self._client.set_terminated(self.id)


_TRACKERS: dict[str, Callable[..., Tracker]] = {"wandb": Wandb, "mlflow": Mlflow}
