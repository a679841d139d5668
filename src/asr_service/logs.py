"""Configures one log for structlog's events and the records of libraries, as JSON lines or as plain text.

The API binds `request_id` with `structlog.contextvars`, so that every line about a request has it.
"""

import logging
import sys
import threading
from typing import Literal

import structlog
from structlog.typing import Processor

LogFormat = Literal["auto", "json", "plain"]


def is_plain(fmt: LogFormat) -> bool:
    """Return whether lines are plain text instead of JSON. `auto` means plain text on a terminal."""
    return sys.stderr.isatty() if fmt == "auto" else fmt == "plain"


def log_uncaught() -> None:
    """Log warnings, and exceptions that end a thread, like all other events. For processes of this service only."""
    logging.captureWarnings(True)

    def log_exception(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread else None
        failure = (args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)
        structlog.get_logger(__name__).critical("uncaught exception in a thread", thread=name, exc_info=failure)

    threading.excepthook = log_exception


def configure_logs(level: str = "info", fmt: LogFormat = "auto") -> None:
    """Send every line to standard error. Call it once per process, before the first line."""
    plain = is_plain(fmt)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    rendering: list[Processor] = (
        # Plain tracebacks: rich ones show local variables, which contain prompts and transcripts.
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if plain
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
