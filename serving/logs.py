"""Structured logs of the service, one JSON object a line on stderr. No content, no keys: callers log figures only."""

import logging
import sys

import structlog


def configure_logs() -> None:
    """Called once by the entry point; library code never configures logging."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
