"""Transcribe several recordings at a time and write their outputs."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO

from asr_service import tasks as asyncio_tasks
from asr_service.cli.transcribe.display.progress import ProgressDisplay
from asr_service.cli.transcribe.files.outputs import OrderedPrinter, Renderer, prepare_output_folders, write_outputs
from asr_service.cli.transcribe.files.recordings import open_recording
from asr_service.cli.transcribe.types import FileResult, FileTask, Recognizer
from asr_service.errors import AsrError, StartupError
from asr_service.transcript import Transcript
from asr_service.transcript.events import final_transcript


async def transcribe_files(
    tasks: Sequence[FileTask],
    recognizer: Recognizer,
    renderer: Renderer,
    progress: ProgressDisplay,
    on_result: Callable[[FileResult], None],
    *,
    n_concurrent: int,
) -> None:
    """Run all tasks. An error of one recording goes into its result and does not affect the others.

    Raises StartupError: the remaining recordings would fail as well.
    Raises BrokenPipeError: the reader of standard output has closed it.
    """
    printer = OrderedPrinter([task for task in tasks if not task.output_paths], renderer)
    worker = _Worker(recognizer, renderer, progress, printer, on_result)
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
    ) -> None:
        self._recognizer = recognizer
        self._renderer = renderer
        self._progress = progress
        self._printer = printer
        self._on_result = on_result

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
                transcript = await self._transcript(task, file)
            self._write(task, transcript)
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
            elapsed_s=time.monotonic() - started,
            warnings=transcript.warnings,
        )

    async def _transcript(self, task: FileTask, file: BinaryIO) -> Transcript:
        events = self._recognizer.transcribe(file)
        return await final_transcript(events, lambda segment: self._progress.advance(task, segment.end))

    def _write(self, task: FileTask, transcript: Transcript | None) -> None:
        if not task.output_paths:
            self._progress.make_way()
            self._printer.add(task, transcript)
        elif transcript is not None:
            write_outputs(task, transcript, self._renderer)


def _error_message(error: AsrError | OSError, task: FileTask) -> str:
    if isinstance(error, AsrError):
        return error.message
    reason = (error.strerror or str(error)).lower()
    is_other_file = error.filename is not None and str(error.filename) != task.name
    return f"{error.filename}: {reason}" if is_other_file else reason
