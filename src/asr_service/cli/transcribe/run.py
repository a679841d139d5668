"""Run `asr-service transcribe` from its plan to its exit code."""

import asyncio
import os
import sys
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Final, NoReturn

from rich.console import Console

from asr_service import tasks as asyncio_tasks
from asr_service.cli.backend import Backend, Service
from asr_service.cli.transcribe.display.progress import NoProgress, ProgressDisplay, ProgressLines
from asr_service.cli.transcribe.display.report import Report
from asr_service.cli.transcribe.files.outputs import Renderer
from asr_service.cli.transcribe.files.plan import TranscribePlan
from asr_service.cli.transcribe.lengths import measure_lengths
from asr_service.cli.transcribe.recognizer import open_recognizer
from asr_service.cli.transcribe.types import FormFields
from asr_service.cli.transcribe.workers import transcribe_files
from asr_service.errors import InvalidParameter, StartupError

_SOME_FAILED: Final = 1
_USAGE: Final = 2
_INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class TranscribeRun:
    """Everything that one `asr-service transcribe` needs."""

    plan: TranscribePlan
    fields: FormFields
    renderer: Renderer
    backend: Backend
    n_concurrent: int
    as_json: bool


def run_and_exit(run: TranscribeRun) -> NoReturn:
    """Carry out the plan, report the results, and end the process."""
    console = Console(stderr=True, highlight=False)
    report = Report(console, as_json=run.as_json)
    started = time.monotonic()
    with asyncio.Runner() as runner:
        code = _exit_code(runner, run, report, console)
        if _needs_summary(run):
            n_total = len(run.plan.tasks) + len(run.plan.known_results)
            elapsed_s, resumes = time.monotonic() - started, not isinstance(run.backend, Service)
            report.print_summary(elapsed_s, n_total, run.plan.n_other_options, resumes=resumes)
        # Inside the `with`: closing the runner would wait for threads that read a pipe or call the model.
        _exit_now(code)


def _exit_code(runner: asyncio.Runner, run: TranscribeRun, report: Report, console: Console) -> int:
    try:
        for result in run.plan.known_results:
            report.add(result)
        if run.plan.tasks:
            runner.run(_transcribe(run, report, console))
    except KeyboardInterrupt:
        report.print_line("interrupted")
        if not isinstance(run.backend, Service) and not _needs_summary(run):
            report.print_line("Run the same command again to go on where this one stopped.")
        return _INTERRUPTED
    except BrokenPipeError:
        return _SOME_FAILED
    except InvalidParameter as error:  # only the loaded model can refuse these
        report.print_line(f"asr-service transcribe: {error.message}")
        return _USAGE
    except StartupError as error:
        for line in f"asr-service transcribe: {error.message}".splitlines():
            report.print_line(line)
        return error.exit_code
    return _SOME_FAILED if report.any_failed else 0


async def _transcribe(run: TranscribeRun, report: Report, console: Console) -> None:
    tasks = run.plan.tasks
    async with AsyncExitStack() as stack:
        recognizer = await stack.enter_async_context(open_recognizer(run.backend, run.fields))
        progress: ProgressDisplay = NoProgress()
        if console.is_terminal and not (run.as_json and sys.stdout.isatty()):
            lines = progress = stack.enter_context(ProgressLines(len(tasks), console))
            measuring = asyncio.create_task(measure_lengths(tasks, lines.set_length))
            stack.push_async_callback(asyncio_tasks.cancel, [measuring])
        await transcribe_files(
            tasks,
            recognizer,
            run.renderer,
            progress,
            report.add,
            report.print_line,
            n_concurrent=run.n_concurrent,
        )


def _needs_summary(run: TranscribeRun) -> bool:
    """Return False if the only result is one printed transcript."""
    prints_one = len(run.plan.tasks) == 1 and not run.plan.tasks[0].output_paths
    return not prints_one or bool(run.plan.known_results)


def _exit_now(code: int) -> NoReturn:
    """End without waiting for threads: one may be inside a model call or blocked on a pipe."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
