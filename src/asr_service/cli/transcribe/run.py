"""Conducts `asr-service transcribe`: jobs through a recognizer into files, several at a time."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from typing import BinaryIO, Protocol

from asr_service import tasks
from asr_service.cli.transcribe.files import Printer, Rendering, make_room, opened, write_outputs
from asr_service.cli.transcribe.types import Job, Recognizer, Result
from asr_service.errors import AsrError, StartupError
from asr_service.transcript import Segment, Transcript


class Watcher(Protocol):
    """Is shown how far along things are."""

    def starts(self, job: Job) -> None: ...
    def hears(self, job: Job, until_s: float) -> None: ...
    def ends(self, job: Job, result: Result) -> None: ...
    def makes_way(self) -> None:
        """Something is about to be written to standard output."""


async def run_jobs(
    jobs: Sequence[Job],
    recognizer: Recognizer,
    rendering: Rendering,
    watcher: Watcher,
    on_result: Callable[[Result], None],
    *,
    at_once: int,
) -> None:
    """Do all jobs. What is wrong with one recording is in its result, and nobody else's trouble.

    Raises StartupError where the rest would fail as well, and BrokenPipeError where nobody reads standard output.
    """
    printer = Printer([job for job in jobs if not job.paths], rendering)
    run = _Run(recognizer, rendering, watcher, printer, on_result)
    waiting = iter(jobs)
    hands = [asyncio.create_task(run.work(waiting)) for _ in range(min(at_once, len(jobs)))]
    try:
        await asyncio.gather(*hands)
    finally:
        await tasks.cancel(hands)


class _Run:
    def __init__(
        self,
        recognizer: Recognizer,
        rendering: Rendering,
        watcher: Watcher,
        printer: Printer,
        on_result: Callable[[Result], None],
    ) -> None:
        self._recognizer = recognizer
        self._rendering = rendering
        self._watcher = watcher
        self._printer = printer
        self._on_result = on_result

    async def work(self, waiting: Iterable[Job]) -> None:
        """Take one job after the other; several such share what waits."""
        for job in waiting:
            self._watcher.starts(job)
            result = await self._result_of(job)
            self._watcher.ends(job, result)
            self._on_result(result)

    async def _result_of(self, job: Job) -> Result:
        began = time.monotonic()
        try:
            make_room(job)
            async with opened(job.source) as file:
                transcript = await self._transcript(job, file)
            self._deliver(job, transcript)
        except (StartupError, BrokenPipeError):
            raise
        except (AsrError, OSError) as error:
            self._deliver(job, None)
            return Result(job.name, "failed", seconds=time.monotonic() - began, error=_words(error, job))
        return Result(
            job.name,
            "done",
            job.paths,
            audio_s=transcript.duration,
            seconds=time.monotonic() - began,
            warnings=transcript.warnings,
        )

    async def _transcript(self, job: Job, file: BinaryIO) -> Transcript:
        async with aclosing(self._recognizer.transcribe(file)) as events:
            async for event in events:
                if isinstance(event, Segment):
                    self._watcher.hears(job, event.end)
                else:
                    return event
        raise AssertionError("a transcript ends every recording")

    def _deliver(self, job: Job, transcript: Transcript | None) -> None:
        if not job.paths:
            self._watcher.makes_way()
            self._printer.settle(job, transcript)
        elif transcript is not None:
            write_outputs(job, transcript, self._rendering)


def _words(error: AsrError | OSError, job: Job) -> str:
    if isinstance(error, AsrError):
        return error.message
    reason = (error.strerror or str(error)).lower()
    about_another = error.filename is not None and str(error.filename) != job.name
    return f"{error.filename}: {reason}" if about_another else reason
