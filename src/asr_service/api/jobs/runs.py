"""Runs jobs for job workers: /internal/job-runs, which is not part of the public API."""

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import replace
from typing import BinaryIO, Final

import structlog
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from asr_service import tasks
from asr_service.access.keys import Key
from asr_service.api.middleware.authentication import key_of
from asr_service.api.problems import UNEXPECTED, uncounted_problem
from asr_service.api.streaming import StreamedResponse
from asr_service.api.upload import receive_upload
from asr_service.engine.slot import SlotEngine
from asr_service.errors import AsrError, MalformedRequest, Overloaded, RequestError, Unavailable, WorkerKeyRequired
from asr_service.jobs.running import wire
from asr_service.jobs.running.executor import AttemptFailed, Event, Work, WorkReturned
from asr_service.jobs.running.slot_executor import MAX_CLIP_BYTES, SlotExecutor
from asr_service.transcript import Transcript

log = structlog.get_logger(__name__)

router = APIRouter()

_PART_BYTES: Final = 1024**2
_SIZE: Final = re.compile(r"[0-9]{1,18}")


class JobRuns:
    """The runs of a slot for job workers. They end at once when the slot drains."""

    def __init__(self, engine: SlotEngine, executor: SlotExecutor) -> None:
        self._engine = engine
        self._executor = executor
        self._n_clips = 0
        self._n_long = 0
        self._draining = asyncio.Event()

    @property
    def busy(self) -> bool:
        return self._n_runs > 0

    @property
    def _n_runs(self) -> int:
        return self._n_clips + self._n_long

    def begin_drain(self) -> None:
        self._draining.set()

    @contextmanager
    def permit(self, n_audio_bytes: int) -> Iterator[None]:
        """Count a run of a recording of this size while the context lasts.

        Raises NotReady. Raises Overloaded: more runs would not be useful.
        """
        if not self._engine.ready:
            raise self._engine.not_ready()
        if not self._executor.has_room(self._n_clips, self._n_long):
            raise Overloaded(f"The slot runs {self._n_runs} jobs, which is enough for now.", retry_after_s=1)
        is_clip = n_audio_bytes <= MAX_CLIP_BYTES
        self._n_clips += is_clip
        self._n_long += not is_clip
        try:
            yield
        finally:
            self._n_clips -= is_clip
            self._n_long -= not is_clip

    async def lines(self, work: Work, file: BinaryIO) -> AsyncGenerator[str]:
        """Run the work and yield the lines of the response. An error is the last line."""
        failure: AttemptFailed | WorkReturned | None = None
        try:
            async with aclosing(self._events(work, file)) as events:
                async for event in events:
                    yield wire.encode_line(event)
        except WorkReturned as error:
            failure = error
        except AsrError as error:
            failure = AttemptFailed(error.code, error.message, is_final=isinstance(error, RequestError))
        except Exception:
            log.exception("unexpected error")
            failure = AttemptFailed("internal_error", UNEXPECTED, is_final=False)
        if failure is not None:
            yield wire.encode_line(failure)

    async def _events(self, work: Work, file: BinaryIO) -> AsyncGenerator[Event | wire.Waiting]:
        """Yield the events of a run, and a Waiting if there is none for a while.

        Raises WorkReturned: the slot drains.
        """
        draining = asyncio.create_task(self._draining.wait())
        async with aclosing(self._executor.transcribe(work, file)) as events:
            following = asyncio.ensure_future(anext(events))
            try:
                while True:
                    waited_for = {following, draining}
                    await asyncio.wait(waited_for, timeout=wire.KEEP_ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
                    event = following.result() if following.done() else wire.Waiting()
                    yield event
                    if isinstance(event, Transcript):
                        return
                    if draining.done():
                        raise WorkReturned("The slot drains.")
                    if following.done():
                        following = asyncio.ensure_future(anext(events))
            finally:
                await tasks.cancel([following, draining])


@router.get(wire.PATH, include_in_schema=False)
async def ask_for_room(request: Request) -> Response:
    """Answer whether the slot would run a job now. A worker asks before it sends a large recording."""
    _check_key(key_of(request.scope))
    runs: JobRuns = request.app.state.job_runs
    try:
        with runs.permit(_n_audio_bytes(request)):
            return Response(status_code=204)
    except Unavailable as error:
        return uncounted_problem(error)


@router.post(wire.PATH, include_in_schema=False)
async def run_job(request: Request) -> Response:
    key = key_of(request.scope)
    _check_key(key)
    runs: JobRuns = request.app.state.job_runs
    engine: SlotEngine = request.app.state.engine
    n_audio_bytes = _n_audio_bytes(request)
    async with AsyncExitStack() as stack:
        try:
            stack.enter_context(runs.permit(n_audio_bytes))
        except Unavailable as error:
            return uncounted_problem(error)  # the job waits, and its worker asks again each second
        upload = await stack.enter_async_context(receive_upload(request))
        try:
            work = await asyncio.to_thread(_read, upload.file, n_audio_bytes, has_key=key is not None)
        except ValueError as error:  # the worker may be of a newer version: a service of that version takes the job
            log.warning("a job's run is refused", reason=str(error))
            return uncounted_problem(Unavailable(f"This version of the service cannot read the job: {error}"))
        structlog.contextvars.bind_contextvars(job_id=work.job_id)
        return StreamedResponse(
            runs.lines(work, upload.file),
            resources=stack.pop_all(),
            media_type=wire.MEDIA_TYPE,
            send_timeout_s=engine.settings.request_timeout_s,
        )


def _n_audio_bytes(request: Request) -> int:
    """Return the size of the recording, which is the first part of the body. Raises MalformedRequest."""
    text = request.headers.get(wire.AUDIO_BYTES, "")
    if not _SIZE.fullmatch(text):
        raise MalformedRequest(f"{wire.AUDIO_BYTES} is not the size of a recording.", param=wire.AUDIO_BYTES)
    return int(text)


def _read(file: BinaryIO, n_audio_bytes: int, *, has_key: bool) -> Work:
    """Return the work. Blocks. Raises ValueError: it is not valid.

    It has no digest if that, or a segment, may be forged: the transcript is cached for all callers with that recording.
    """
    work = wire.split_body(file, n_audio_bytes)
    is_trusted = has_key or not work.earlier  # without keys, anyone can send segments
    digest = _sha256(file) if work.recording_sha256 and is_trusted else None
    file.seek(0)
    return replace(work, recording_sha256=digest if digest == work.recording_sha256 else None)


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while part := file.read(_PART_BYTES):
        digest.update(part)
    return digest.hexdigest()


def _check_key(key: Key | None) -> None:
    if key is not None and not key.is_worker:
        raise WorkerKeyRequired(
            f"The API key {key.name!r} is not one of a job worker. `asr-service keys new NAME --worker` makes one."
        )
