"""Gunicorn's lines in the service's log, and the name of the process on every line."""

import logging
from typing import Any

import structlog
from gunicorn.glogging import Logger
from structlog.typing import EventDict, WrappedLogger


class GunicornLogger(Logger):  # type: ignore[misc]  # Gunicorn has no types
    """Leaves handlers and levels to `asr_service.logs`.

    Gunicorn's info lines become debug lines: the arbiter logs the same events with their slot.
    """

    def setup(self, cfg: Any) -> None:  # noqa: ARG002
        self.loglevel = logging.NOTSET
        self.error_log.propagate = True
        self.error_log.handlers.clear()

    def info(self, msg: str, *args: Any, **kwargs: Any) -> None:
        self.error_log.debug(msg, *args, **kwargs)

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        """Log nothing: the application logs its requests."""

    def reopen_files(self) -> None:
        """Do nothing: there are no files."""

    def close_on_exec(self) -> None:
        """Do nothing: children write to standard error too."""


def name_process(**names: object) -> None:
    """Add `names` to every line that this process logs from now on, in all threads.

    The list of processors is changed in place, because a logger keeps the list that it first saw, and one that was
    used before the fork keeps the master's.
    """

    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {**names, **event}

    structlog.get_config()["processors"].insert(1, add)  # after the level filter
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter):
            handler.formatter.foreign_pre_chain = [add, *(handler.formatter.foreign_pre_chain or ())]
