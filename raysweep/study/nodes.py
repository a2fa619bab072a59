"""The nodes that a run works on: the first stage that needs Ray starts or joins it, and each asks for its own nodes."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from raysweep.progress import Progress
from raysweep.storage import Storage
from raysweep.study.cluster import ask_for, check_nodes, cluster, named_cluster
from raysweep.study.model import Compute


class Nodes:
    """What a run has asked a cluster for. A stage asks when it starts to work and gives back when it has ended: while
    slides are tiled no GPU node is kept, and while networks are trained on GPUs no pool of CPU nodes.
    """

    def __init__(
        self, compute: Compute, home: Storage, paths: Sequence[str], progress: Progress, stack: ExitStack
    ) -> None:
        """`paths` are folders that every node must see; Ray ends with the `stack`."""
        self._compute, self._home, self._paths = compute, home, sorted(paths)
        self._progress, self._stack = progress, stack
        self._joined = False
        self._asked: tuple[int | None, int | None] | None = None
        self._leave: Callable[[], None] = lambda: None

    def want(self, *, train: bool) -> None:
        """Have the nodes for training networks, or else for reading slides and images, which needs no GPU.

        Raises RequestError for what a Ray on this machine will never have, before anything has begun, and for a node
        that cannot do the work; WorkError when a cluster does not answer or its nodes do not come.
        """
        cpus, gpus = self._compute.cpus, self._compute.gpus
        if not self._joined:
            self._stack.enter_context(cluster(self._progress, cpus=cpus, prices=self._compute.prices))
            self._stack.callback(self.give_back)
            self._joined = True
            if not named_cluster():
                ask_for(cpus, gpus, self._progress)
        # The nodes that GPUs come with bring the CPUs that their trainings need.
        wanted: tuple[int | None, int | None] = (None, gpus) if train and gpus else (cpus, None)
        if wanted == self._asked:
            return
        self.give_back()
        self._leave = ask_for(wanted[0], wanted[1], self._progress)
        self._asked = wanted
        check_nodes(self._home, self._paths)

    def give_back(self) -> None:
        """Ask for nothing any more: nodes that have nothing to do go, as the cluster's file says."""
        self._leave()
        self._leave, self._asked = (lambda: None), None
