"""One log for everything: structlog's events and the libraries' records, as JSON lines or for a terminal.

`request_id` is bound where a request enters (`structlog.contextvars`) and stands in every line about it.
"""

import logging
import sys
import threading
from typing import Literal

import structlog
from structlog.typing import Processor

Format = Literal["auto", "json", "plain"]


def is_plain(fmt: Format) -> bool:
    """Whether lines are written for people, rather than as JSON."""
    return sys.stderr.isatty() if fmt == "auto" else fmt == "plain"


def log_what_nobody_catches() -> None:
    """Have warnings, and what ends a thread, in the log as lines like all others. For a process that is all ours."""
    logging.captureWarnings(True)

    def note(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread else None
        failure = (args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)
        structlog.get_logger(__name__).critical("a thread ended", thread=name, exc_info=failure)

    threading.excepthook = note


def configure_logs(level: str = "info", fmt: Format = "auto") -> None:
    """Send every line to standard error. Call once a process, before the first line."""
    plain = is_plain(fmt)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    rendering: list[Processor] = (
        # Plain traces: rich ones show local variables, and those hold prompts and transcripts.
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
