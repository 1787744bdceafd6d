"""Logs: one JSON object per line, no personal data. Metrics live beside the code that counts."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

# Keys that may carry personal data or a secret are never written.
_HIDDEN = frozenset(
    {
        "account_number",
        "holder_name",
        "email",
        "phone",
        "payment_method",
        "api_key",
        "authorization",
        "secret",
        "password",
    }
)


def configure_logging(process: str, level: int = logging.INFO) -> None:
    """Send structlog and the standard library's log to stderr as JSON lines."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _hide,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(ensure_ascii=False)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))


def _hide(_: Any, __: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key in _HIDDEN & entry.keys():
        entry[key] = "hidden"
    return entry
