"""Watches a slot in a thread of its own: hung loads, hung model calls, gauges and free heap memory."""

import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from asr_service.engine.gauges import SlotGauges
from asr_service.engine.schedule.scheduler import Scheduler
from asr_service.hardware.devices import Slot
from asr_service.hardware.malloc import TrimSchedule, trim_heap
from asr_service.settings import Settings

log = structlog.get_logger(__name__)

_INTERVAL_S: Final = 2.0
_GRACE_S: Final = 30.0
"""A model call hangs if it runs this much longer than a request may take."""


class Watched(Protocol):
    """What the watchdog reads of a slot's engine."""

    @property
    def loading_since(self) -> float | None:
        """When the load of the model began (monotonic seconds); None before it and after it."""

    @property
    def scheduler(self) -> Scheduler | None:
        """None until the model is loaded."""

    def fail(self, reason: str) -> None:
        """End the worker process, unless the slot is closed already."""


class Watchdog:
    """Ends the worker if a load or a model call hangs, sets the gauges, and trims the heap when the slot is idle.

    An error in the gauges or in the heap's trimming is logged, and the watchdog continues.
    """

    def __init__(self, slot: Slot, settings: Settings, watched: Watched) -> None:
        self._watched = watched
        self._load_timeout_s = settings.model_load_timeout_s
        self._call_timeout_s = settings.request_timeout_s + _GRACE_S
        self._gauges = SlotGauges(slot)
        self._trimming = TrimSchedule(time.monotonic())
        self._last_errors: dict[str, str] = {}

    def run(self, closed: threading.Event) -> None:
        """Watch until `closed` is set."""
        while not closed.is_set():
            now = time.monotonic()
            self._end_if_hung(now)
            self._attempt(self._set_gauges, now)
            self._attempt(self._trim_heap, now)
            closed.wait(_INTERVAL_S)

    def _end_if_hung(self, now: float) -> None:
        since, scheduler = self._watched.loading_since, self._watched.scheduler
        if since is not None and now - since > self._load_timeout_s:
            self._watched.fail(f"The model did not load within {self._load_timeout_s:.0f} s.")
        # By the duration of the call alone: a call that begins shortly before its requests' deadlines may just be slow.
        if since is None and scheduler is not None and scheduler.longest_call_s(now) > self._call_timeout_s:
            self._watched.fail(f"A model call has run for more than {self._call_timeout_s:.0f} s and will not return.")

    def _set_gauges(self, now: float) -> None:
        self._gauges.show(self._watched.scheduler, now)

    def _trim_heap(self, now: float) -> None:
        scheduler = self._watched.scheduler
        if scheduler is not None and self._trimming.is_due(now, scheduler.worked_at):
            trim_heap()

    def _attempt(self, duty: Callable[[float], None], now: float) -> None:
        """Do a duty that may fail: psutil fails without free file descriptors, metrics on a full disk."""
        try:
            duty(now)
        except Exception as error:
            if self._last_errors.get(duty.__name__) != repr(error):  # not the same traceback every two seconds
                self._last_errors[duty.__name__] = repr(error)
                log.exception("a duty of the watchdog failed", duty=duty.__name__.strip("_"))
        else:
            self._last_errors.pop(duty.__name__, None)
