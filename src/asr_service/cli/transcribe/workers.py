"""Transcribe several recordings at a time and write their outputs."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import BinaryIO

from asr_service import tasks as asyncio_tasks
from asr_service.cli.terminal import os_reason
from asr_service.cli.transcribe.display.progress import ProgressDisplay
from asr_service.cli.transcribe.files.outputs import OrderedPrinter, Renderer, prepare_output_folders, write_outputs
from asr_service.cli.transcribe.files.partial import Journal, open_journal
from asr_service.cli.transcribe.files.recordings import open_recording
from asr_service.cli.transcribe.types import FileResult, FileTask, Recognizer
from asr_service.errors import AsrError, RequestError, StartupError
from asr_service.transcript import Segment, Transcript
from asr_service.transcript.events import final_transcript


async def transcribe_files(
    tasks: Sequence[FileTask],
    recognizer: Recognizer,
    renderer: Renderer,
    progress: ProgressDisplay,
    on_result: Callable[[FileResult], None],
    on_note: Callable[[str], None],
    *,
    n_concurrent: int,
) -> None:
    """Run all tasks. An error of one recording goes into its result and does not affect the others.

    `on_note` is called with lines for the user.

    Raises StartupError: the remaining recordings would fail as well.
    Raises BrokenPipeError: the reader of standard output has closed it.
    """
    printer = OrderedPrinter([task for task in tasks if not task.output_paths], renderer)
    worker = _Worker(recognizer, renderer, progress, printer, on_result, on_note)
    queue = iter(tasks)
    running = [asyncio.create_task(worker.run(queue)) for _ in range(min(n_concurrent, len(tasks)))]
    try:
        await asyncio.gather(*running)
    finally:
        await asyncio_tasks.cancel(running)


class _Worker:
    def __init__(
        self,
        recognizer: Recognizer,
        renderer: Renderer,
        progress: ProgressDisplay,
        printer: OrderedPrinter,
        on_result: Callable[[FileResult], None],
        on_note: Callable[[str], None],
    ) -> None:
        self._recognizer = recognizer
        self._renderer = renderer
        self._progress = progress
        self._printer = printer
        self._on_result = on_result
        self._on_note = on_note

    async def run(self, queue: Iterable[FileTask]) -> None:
        """Run one task after the other. Several calls may share one queue."""
        for task in queue:
            self._progress.start(task)
            result = await self._result(task)
            self._progress.finish(task, result)
            self._on_result(result)

    async def _result(self, task: FileTask) -> FileResult:
        started = time.monotonic()
        try:
            prepare_output_folders(task)
            async with open_recording(task.source) as file:
                with open_journal(task, file, self._recognizer.resume_key) as journal:
                    earlier = journal.earlier
                    transcript = await self._transcript(task, file, journal)
                    self._write(task, transcript)
                    journal.remove()
        except (StartupError, BrokenPipeError):
            raise
        except (AsrError, OSError) as error:
            self._write(task, None)
            return FileResult(
                task.name, "failed", elapsed_s=time.monotonic() - started, error=_error_message(error, task)
            )
        return FileResult(
            task.name,
            "done",
            task.output_paths,
            audio_s=transcript.duration,
            earlier_s=earlier[-1].end if earlier else 0.0,
            elapsed_s=time.monotonic() - started,
            warnings=transcript.warnings,
        )

    async def _transcript(self, task: FileTask, file: BinaryIO, journal: Journal) -> Transcript:
        if journal.earlier:
            end_s = journal.earlier[-1].end
            self._progress.resume(task, end_s)
            self._on_note(f"{task.name}: goes on at {timedelta(seconds=int(end_s))}, where an earlier run stopped.")

        def on_segment(segment: Segment) -> None:
            journal.add(segment)
            self._progress.advance(task, segment.end)

        try:
            return await final_transcript(self._recognizer.transcribe(file, journal.earlier), on_segment)
        except RequestError:  # the recording is at fault, so there is nothing to go on with
            journal.remove()
            raise

    def _write(self, task: FileTask, transcript: Transcript | None) -> None:
        if not task.output_paths:
            self._progress.make_way()
            self._printer.add(task, transcript)
        elif transcript is not None:
            write_outputs(task, transcript, self._renderer)


def _error_message(error: AsrError | OSError, task: FileTask) -> str:
    if isinstance(error, AsrError):
        return error.message
    reason = os_reason(error)
    is_other_file = error.filename is not None and str(error.filename) != task.name
    return f"{error.filename}: {reason}" if is_other_file else reason
