"""Where Tune gets its trials from: the board of lanes."""

from typing import Any

from ray.tune.search import Searcher

from raysweep.sweep.board import Board


class CellSearcher(Searcher):
    """Gives Tune one trial after another, taken from many independent searches.

    Tune's trial id is the board's key. The state is in the journals, so Tune has nothing to save. After `most` starts
    it is over for this Tune run, whatever is left: `used_up`.
    """

    def __init__(self, board: Board, most: int) -> None:
        super().__init__()
        self._board, self._left = board, most
        self.died: dict[str, str] = {}  # trial id -> how its process died; written by the scheduler

    @property
    def used_up(self) -> bool:
        """Whether it has given all that it gives to one Tune run."""
        return self._left <= 0

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is a string
        if self._board.error is not None:
            raise self._board.error
        given = None if self.used_up else self._board.start(trial_id)
        if given is None:
            return Searcher.FINISHED if self.used_up or self._board.done else None
        self._left -= 1
        lane, work = given
        return {
            "repeat": lane.repeat.artefact.folder.root,
            "fold": lane.fold,
            work.kind: work.number,
            "params": work.params,
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Its results went to the scheduler before; `error` means that its process died."""
        if not error:
            self._board.release(trial_id)
            return
        try:
            self._board.lost(trial_id, self.died.get(trial_id, "unknown reason"))
        except Exception as failure:  # Tune would turn it into text: keep it for search() to raise
            self._board.error = failure
            raise

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journals are the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journals are the state."""
