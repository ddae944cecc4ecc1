"""The service's log: one JSON object a line on standard error, never with what was in a request's body."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

# What every record of Python's logging has; the rest was given by the caller.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time (UTC), level, what happened, and its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """See :class:`logging.Formatter`."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage().strip(),
        }
        line.update({key: value for key, value in vars(record).items() if key not in _OWN})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_config() -> dict[str, Any]:
    """What :func:`logging.config.dictConfig` takes, for the service and for uvicorn."""
    to_errors = {"handlers": ["lines"], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "headstart.serving.logs.JsonLines"}},
        "handlers": {"lines": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
        "loggers": {
            "headstart.serving": {**to_errors, "level": "INFO"},
            "uvicorn": {**to_errors, "level": "WARNING"},
            "uvicorn.error": {"level": "WARNING"},
        },
    }
