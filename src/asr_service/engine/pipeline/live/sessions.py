"""The live sessions of one slot."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final

from asr_service import metrics, tasks
from asr_service.access.caller import UNKNOWN_CALLER, Caller
from asr_service.engine.decode.window import WindowDecoder
from asr_service.engine.options import DecodingOptions
from asr_service.engine.pipeline.live.events import EndReason
from asr_service.engine.pipeline.live.finisher import FinisherTools
from asr_service.engine.pipeline.live.load import LiveLoad
from asr_service.engine.pipeline.live.options import LiveOptions
from asr_service.engine.pipeline.live.partial import PartialDecoder
from asr_service.engine.pipeline.live.places import Holder, place_to_take
from asr_service.engine.pipeline.live.session import LiveSession, SessionTools
from asr_service.engine.pipeline.window_memory import WindowMemory
from asr_service.engine.schedule.batch import LiveWork
from asr_service.engine.schedule.request import RequestHandle
from asr_service.engine.schedule.scheduler import Scheduler
from asr_service.errors import Overloaded

TURN_OUTCOMES: Final = ("completed", "failed")
PARTIAL_OUTCOMES: Final = ("decoded", "dropped")
WORD_OUTCOMES: Final = ("sent", "taken_back")
GIVEN_UP: Final = (EndReason.SILENT, EndReason.YIELDED)
"""Why a session gives up its place for another one."""
_YIELD_EVERY_S: Final = 10.0
"""Minimum time between two sessions that are ended for fairness: a caller that opens many sessions ends few."""


class LiveSessions:
    """Opens live sessions, as many as the slot's model can follow. Belongs to one event loop."""

    def __init__(
        self,
        windows: WindowDecoder,
        partials: PartialDecoder,
        scheduler: Scheduler,
        memory: WindowMemory,
        cpu_pool: ThreadPoolExecutor,
        request_ids: Iterator[int],
        model_name: str,
        n_threads: int,
        slot_name: str = "0",
    ) -> None:
        """Create the sessions' common parts over a running scheduler.

        `cpu_pool` runs voice activity detection. `request_ids` gives the ids of requests within the slot, which other
        requests also take. `n_threads` is how many calls of the model run side by side.
        """
        self._partials = partials
        self._scheduler = scheduler
        self._cpu_pool = cpu_pool
        self._request_ids = request_ids
        self._load = LiveLoad(n_threads, on_capacity=metrics.LIVE_PLACES.labels(slot_name).set)
        self._finishing = FinisherTools(windows, memory, self._load, model_name)
        self._open: set[LiveSession] = set()
        self._places: dict[LiveSession, Caller] = {}
        """The sessions that hold a place, in the order of their opening. Those that gave up theirs are still open."""
        self._yielded_at = -math.inf
        self._show_sessions = metrics.LIVE_SESSIONS.labels(slot_name).set
        for outcome in TURN_OUTCOMES:
            metrics.LIVE_TURNS.labels(outcome)  # with the value 0: without a sample, a rate has no value
        for outcome in PARTIAL_OUTCOMES:
            metrics.LIVE_PARTIALS.labels(outcome)
        for outcome in WORD_OUTCOMES:
            metrics.LIVE_WORDS.labels(outcome)
        for reason in GIVEN_UP:
            metrics.LIVE_GIVEN_UP.labels(reason)

    @asynccontextmanager
    async def open(
        self,
        options: LiveOptions,
        *,
        caller: Caller = UNKNOWN_CALLER,
        on_audio: Callable[[float], None] = lambda _: None,
    ) -> AsyncIterator[LiveSession]:
        """Open a session, and cancel all its work when the context ends.

        If there is no place, a session that is silent or whose caller has more than `caller` may give up its own.

        `on_audio` is called with the seconds of audio, as they are fed. Raises Overloaded: the model cannot follow one
        more session.
        """
        try:
            self._make_room(caller)
        except Overloaded:
            metrics.LIVE_REFUSED.inc()
            raise

        def new_request(decoding: DecodingOptions, live: LiveWork | None, max_wait_s: float) -> RequestHandle:
            return self._new_request(decoding, live, max_wait_s, caller)

        session = LiveSession(
            SessionTools(self._finishing, self._partials, new_request, self._cpu_pool), options, on_audio
        )
        self._open.add(session)
        self._places[session] = caller
        self._note_places()
        running = asyncio.create_task(session.run())
        try:
            yield session
        finally:
            await tasks.cancel([running])
            self._open.remove(session)
            self._places.pop(session, None)
            self._note_places()

    def drain(self) -> None:
        """End the open turns, and then the sessions. Their last event has the reason `draining`."""
        for session in self._open:
            session.begin_to_finish(EndReason.DRAINING)

    def _make_room(self, caller: Caller) -> None:
        """Check that there is a place, or let a session give up its own. Raises Overloaded."""
        try:
            self._load.check_room()
        except Overloaded:
            sessions = list(self._places)
            holders = [Holder(self._places[each], each.silent_s) for each in sessions]
            taken = place_to_take(caller, holders, is_full=self._load.is_full)
            if taken is None or not self._may_end(taken[1]):
                raise
            self._end(sessions[taken[0]], taken[1])

    def _may_end(self, reason: EndReason) -> bool:
        return reason is not EndReason.YIELDED or time.monotonic() - self._yielded_at >= _YIELD_EVERY_S

    def _end(self, session: LiveSession, reason: EndReason) -> None:
        """End a session for another one. Its open turn is completed."""
        if reason is EndReason.YIELDED:
            self._yielded_at = time.monotonic()
        metrics.LIVE_GIVEN_UP.labels(reason).inc()
        del self._places[session]
        self._note_places()
        session.begin_to_finish(reason)

    def _note_places(self) -> None:
        self._load.n_sessions = len(self._places)
        self._show_sessions(len(self._open))

    def _new_request(
        self, decoding: DecodingOptions, live: LiveWork | None, max_wait_s: float, caller: Caller
    ) -> RequestHandle:
        deadline = time.monotonic() + max_wait_s
        return RequestHandle(
            self._scheduler, next(self._request_ids), decoding, lambda: deadline, caller=caller, live=live
        )
