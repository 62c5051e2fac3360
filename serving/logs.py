"""Structured logs of the service, one JSON object a line on stderr. No content, no keys: callers log figures only.

An exception's words may hold what was asked, so its kind and the lines of code that it came through are logged, and its
words only where the operator asks for them.
"""

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any

import structlog

from serving.context import current_request


def configure_logs(*, details: bool = False) -> None:
    """Called once by the entry point; library code never configures logging.

    Args:
        details: log the words of exceptions too.
    """
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            add_request_id,
            structlog.processors.format_exc_info if details else bare_exceptions,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def add_request_id(logger: Any, name: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Say which request a line is about."""
    request_id = current_request().request_id
    if request_id != "-":
        line.setdefault("id", request_id)
    return line


def bare_exceptions(logger: Any, name: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put the kinds of an exception and its causes, and where they were raised, in place of `exc_info`."""
    given = line.pop("exc_info", None)
    error = sys.exception() if given is True else given
    shown: list[str] = []
    while isinstance(error, BaseException):
        where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
        shown.append("\n".join([type(error).__name__, *where]))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if shown:
        line["exception"] = "\nof\n".join(shown)
    return line
