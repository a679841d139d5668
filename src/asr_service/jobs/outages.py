"""The log lines of work that is repeated while the records or files of jobs cannot be used."""

import contextlib
from collections.abc import Iterator

import structlog

from asr_service.errors import AsrError


class OutageLog:
    """Logs the beginning of an outage, and not each of its errors."""

    def __init__(self, log: structlog.stdlib.BoundLogger, event: str) -> None:
        self._log = log
        self._event = event
        self._is_down = False

    @contextlib.contextmanager
    def no_errors(self) -> Iterator[None]:
        """Log an error instead of raising it. An AsrError after another one is not logged."""
        try:
            yield
            self._is_down = False
        except AsrError as error:
            if not self._is_down:
                self._log.warning(self._event, reason=error.message)
            self._is_down = True
        except Exception:  # noqa: BLE001 - it is logged
            self._log.exception(self._event)
