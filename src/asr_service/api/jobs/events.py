"""The events of a job, as server-sent events: its state when it changes, and its segments as they become known."""

import time
from collections.abc import AsyncGenerator
from typing import Final

from asr_service.api.jobs.schemas import job_response
from asr_service.errors import JobNotFound
from asr_service.formats import FORMATS
from asr_service.jobs.records import JobStatus
from asr_service.jobs.service import Jobs, poll_interval_s

_KEEP_ALIVE_S: Final = 15.0
"""A comment after this time without an event keeps proxies from closing the connection."""


async def job_events(jobs: Jobs, owner: str, job_id: str, start: int, prefix: str) -> AsyncGenerator[str]:
    """Yield events until the job has ended or the service drains. The first segment has the number `start`.

    The id of an event is the number of segments up to it, so that a client can continue with `Last-Event-ID`.
    """
    shown, sent_at = "", time.monotonic()
    progress: tuple[JobStatus, float] | None = None
    while True:
        try:
            job = await jobs.get(owner, job_id)
        except JobNotFound:  # it was deleted
            return
        if progress != (job.status, job.audio_s_done):
            progress = (job.status, job.audio_s_done)
            for segment in await jobs.segments(job_id, start):
                start = segment.id + 1
                yield f"id: {start}\nevent: segment\ndata: {_segment_line(segment)}\n"
                sent_at = time.monotonic()
        state = job_response(job, prefix, await jobs.deliveries(job)).model_dump_json()
        if state != shown:
            yield f"event: job\ndata: {state}\n\n"
            shown, sent_at = state, time.monotonic()
        if not job.is_open or jobs.closing.is_set():
            return
        if time.monotonic() - sent_at > _KEEP_ALIVE_S:
            yield ": keep-alive\n\n"
            sent_at = time.monotonic()
        await jobs.pause(poll_interval_s(job))


_STREAM = FORMATS["ndjson"].stream
assert _STREAM is not None  # noqa: S101 - it is the format of streams
_segment_line = _STREAM.segment
