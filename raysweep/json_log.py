"""Events as lines of JSON on standard error, for machines that read logs."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from raysweep.secrets import without_secrets


def log_event(what: str, stage: str | None = None, **numbers: Any) -> None:
    """Write one event: its `time` (UTC, ISO 8601), the `stage` if it is of one, `what` it is, and what it tells.

    what: started, progress, note, ended (of a stage); said, failed, warning, error, finished. Values are numbers, words
    or null; a `text` is what people are shown.
    """
    event = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "stage": stage, "what": what, **numbers}
    plain = {key: without_secrets(value) if isinstance(value, str) else value for key, value in event.items()}
    sys.stderr.write(json.dumps(plain) + "\n")
    sys.stderr.flush()


class WarningEvents(logging.Handler):
    """What libraries log as warnings, which would stand between the events as plain text."""

    def emit(self, record: logging.LogRecord) -> None:
        log_event("warning", text=f"{record.name}: {record.getMessage()}")
