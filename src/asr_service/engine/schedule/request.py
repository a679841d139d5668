"""A request's handle on the scheduler: what its windows share, and how long they wait and run."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from asr_service.access.caller import UNKNOWN_CALLER, Caller
from asr_service.engine.model.calls import STAGES, Call
from asr_service.engine.options import DecodingOptions
from asr_service.engine.schedule.batch import LiveWork, QueueEntry
from asr_service.engine.schedule.scheduler import Scheduler
from asr_service.tracing import record_span


@dataclass(slots=True)
class RequestHandle:
    """Submits model calls for the windows of one request. Used on one event loop."""

    scheduler: Scheduler
    request_id: int
    """Identifies the request within the slot."""
    options: DecodingOptions
    next_deadline: Callable[[], float]
    """Returns the deadline of a call that is submitted now, in monotonic seconds."""
    is_bulk: bool = False
    """No client waits for the request: windows of other requests go first."""
    caller: Caller = UNKNOWN_CALLER
    live: LiveWork | None = None
    """Set for the turns of live sessions."""
    language: asyncio.Future[tuple[str, float]] = field(
        init=False, default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    """Code and probability. The first window sets it if the options do not."""
    queued_s: float = field(init=False, default=0.0)
    """The longest time that a window has waited."""
    _calls: list[tuple[float, float]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        if self.options.language is not None:
            self.set_language(self.options.language, 1.0)

    async def submit(self, call: Call, *, audio_s: float, is_first_window: bool) -> Any:
        """Run a model call for a window. Returns its Encoded, Generation or Alignment.

        `audio_s` is the seconds of speech in the window. `is_first_window` says that the request's first segments wait
        for the call.

        Raises EngineStopped, DeadlineExceeded, InferenceFailed, Overloaded.
        """
        entry = QueueEntry(
            stage=STAGES[type(call)],
            key=call.key,
            request_id=self.request_id,
            payload=call,
            audio_s=audio_s,
            n_frames=call.n_frames_padded,
            deadline=self.next_deadline(),
            enqueued_at=time.monotonic(),
            is_first_window=is_first_window and not self.is_bulk,
            is_bulk=self.is_bulk,
            caller=self.caller,
            live=self.live,
        )
        result = await asyncio.wrap_future(self.scheduler.submit(entry))
        self.queued_s = max(self.queued_s, entry.started_at - entry.enqueued_at)
        self._calls.append((entry.started_at, entry.ended_at))
        _trace(entry)
        return result

    def set_language(self, code: str, probability: float) -> None:
        """Set the request's language, unless it is set already."""
        if not self.language.done():
            self.language.set_result((code, probability))

    @property
    def known_language(self) -> tuple[str, float] | None:
        """Code and probability of the language; None until it is detected."""
        return self.language.result() if self.language.done() else None

    @property
    def inference_s(self) -> float:
        """Seconds in which at least one model call of this request was running."""
        total, until = 0.0, -math.inf
        for start, end in sorted(self._calls):
            total += max(end - max(start, until), 0.0)
            until = max(until, end)
        return total


def _trace(entry: QueueEntry) -> None:
    record_span("queue", entry.enqueued_at, entry.started_at)
    attributes = {"asr.batch_size": entry.n_together, "asr.n_frames": entry.n_frames}
    record_span(f"inference {entry.stage}", entry.started_at, entry.ended_at, attributes)
