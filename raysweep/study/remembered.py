"""What was found out about models on this machine, kept in the user's folder so that the next plan is quick."""

import json
from typing import Any

from raysweep.errors import WorkError
from raysweep.local_path import user_folder
from raysweep.storage import Storage
from raysweep.versions import versions


class Remembered:
    """Answers by question, in `~/.raysweep/cache/NAME.json` (or below RAYSWEEP_HOME). None survives other versions.

    It saves time and nothing else: a folder that cannot be read or written is as good as an empty one.
    """

    def __init__(self, name: str, number: int) -> None:
        """`number`: raise it when the same question has another answer."""
        self._home = user_folder() / "cache"
        self._file = f"{name}.json"
        self._made_by = {"format": number, **versions()}
        self._answers = self._read()
        self._new: dict[str, Any] = {}

    def get(self, question: dict[str, Any]) -> Any:
        """The answer that was kept; None when there is none."""
        return self._answers.get(_key(question))

    def keep(self, question: dict[str, Any], answer: Any) -> None:
        """Remember an answer (JSON, not None) from now on; `save` makes it last."""
        self._new[_key(question)] = self._answers[_key(question)] = answer

    def save(self) -> None:
        """Write what is new beside what others have written meanwhile."""
        if not self._new:
            return
        found = {"made_by": self._made_by, "answers": {**self._read(), **self._new}}
        try:
            Storage.open(self._home).write_json(found, self._file)
        except (OSError, WorkError):  # found out again next time
            return
        self._new.clear()

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads((self._home / self._file).read_text(encoding="utf-8"))
            return dict(found["answers"]) if found["made_by"] == self._made_by else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}


def _key(question: dict[str, Any]) -> str:
    return json.dumps(question, sort_keys=True)
