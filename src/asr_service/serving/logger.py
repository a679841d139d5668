"""Gunicorn's and Uvicorn's lines into the service's log, and the process' name on every line."""

import logging
from typing import Any

import structlog
from gunicorn.glogging import Logger
from structlog.typing import EventDict, WrappedLogger


class GunicornLogger(Logger):  # type: ignore[misc]  # Gunicorn has no types
    """Leaves handlers and levels to `asr_service.logs`.

    What Gunicorn calls info (a signal came, a worker boots) the arbiter says better, with the slot: here it is debug.
    """

    def setup(self, cfg: Any) -> None:  # noqa: ARG002
        self.loglevel = logging.NOTSET
        self.error_log.propagate = True
        self.error_log.handlers.clear()

    def info(self, msg: str, *args: Any, **kwargs: Any) -> None:
        self.error_log.debug(msg, *args, **kwargs)

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        """The api logs requests."""

    def reopen_files(self) -> None:
        """There are none."""

    def close_on_exec(self) -> None:
        """Standard error is for children too."""


def name_process(**names: object) -> None:
    """Put `names` on every line that this process logs from now on, whichever thread writes it.

    In place, since structlog's loggers keep the list they first saw, and one used before the fork keeps the master's.
    """

    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {**names, **event}

    structlog.get_config()["processors"].insert(1, add)  # after the filter by level
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter):
            handler.formatter.foreign_pre_chain = [add, *(handler.formatter.foreign_pre_chain or ())]
