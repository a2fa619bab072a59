"""What Tune does with results: each repeat's own journal and early stopping decide."""

import json
from typing import TYPE_CHECKING, Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from raysweep.sweep.board import Board
from raysweep.sweep.searcher import CellSearcher

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial


class CellScheduler(FIFOScheduler):
    """Passes every result to the board before Tune acts on it. Repeats are never ranked against each other."""

    def __init__(self, board: Board, searcher: CellSearcher) -> None:
        super().__init__()
        self._board, self._searcher = board, searcher

    def on_trial_result(self, tune_controller: "TuneController", trial: "Trial", result: dict[str, Any]) -> str:
        try:
            stop = self._board.result(trial.trial_id, json.loads(result["said"]))
        except Exception as error:  # Tune would turn it into text: keep it for search() to raise
            self._board.error = error
            raise
        return TrialScheduler.STOP if stop else TrialScheduler.CONTINUE

    def on_trial_error(self, tune_controller: "TuneController", trial: "Trial") -> None:
        """The actor died (exceptions of a trial are results). The searcher, told next, gives its work out again."""
        cause = trial.get_pickled_error()
        if cause is not None:
            self._searcher.died[trial.trial_id] = _first_line(cause)

    def choose_trial_to_run(self, tune_controller: "TuneController") -> None:
        """No preference: Tune starts pending trials in the order in which they were suggested."""
        return None


def _first_line(error: Exception) -> str:
    """Ray's messages go on for paragraphs."""
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
