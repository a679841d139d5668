"""Run `asr-service transcribe` from its plan to its exit code."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, NoReturn

from rich.console import Console

from asr_service.cli.transcribe.outputs import Renderer
from asr_service.cli.transcribe.plan import TranscribePlan
from asr_service.cli.transcribe.progress import NoProgress, ProgressDisplay, ProgressLines
from asr_service.cli.transcribe.report import Report
from asr_service.cli.transcribe.types import Fields, Recognizer
from asr_service.cli.transcribe.workers import transcribe_files
from asr_service.errors import InvalidParameter, StartupError

_SOME_FAILED: Final = 1
_USAGE: Final = 2
_INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class Backend:
    """The service, or the model of this process, that transcribes."""

    server: str | None
    """None loads `model` on `device` in this process; if they are None, the settings name them."""
    api_key: str | None
    model: str | None
    device: str | None


@dataclass(frozen=True, slots=True)
class TranscribeRun:
    """Everything that one `asr-service transcribe` needs."""

    plan: TranscribePlan
    fields: Fields
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
            report.print_summary(time.monotonic() - started, n_total)
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
        return _INTERRUPTED
    except BrokenPipeError:
        return _SOME_FAILED
    except InvalidParameter as error:  # only the loaded model can refuse these
        report.print_line(f"asr-service transcribe: {error.message}")
        return _USAGE
    except StartupError as error:
        report.print_line(f"asr-service transcribe: {error.message}")
        return error.exit_code
    return _SOME_FAILED if report.any_failed else 0


async def _transcribe(run: TranscribeRun, report: Report, console: Console) -> None:
    tasks = run.plan.tasks
    async with AsyncExitStack() as stack:
        recognizer = await stack.enter_async_context(_recognizer(run.backend, run.fields))
        progress: ProgressDisplay = NoProgress()
        if console.is_terminal and not (run.as_json and sys.stdout.isatty()):
            progress = stack.enter_context(ProgressLines(len(tasks), console))
        await transcribe_files(tasks, recognizer, run.renderer, progress, report.add, n_concurrent=run.n_concurrent)


@asynccontextmanager
async def _recognizer(backend: Backend, fields: Fields) -> AsyncIterator[Recognizer]:
    """Import only what the backend needs, because both imports are slow."""
    if backend.server is not None:
        from asr_service.cli.transcribe.remote import remote_recognizer  # noqa: PLC0415

        async with remote_recognizer(backend.server, backend.api_key, fields) as remote:
            yield remote
        return
    from asr_service.hardware.environment import engine_environment  # noqa: PLC0415
    from asr_service.hardware.nvml import discover_gpus  # noqa: PLC0415
    from asr_service.hardware.spec import parse_devices  # noqa: PLC0415
    from asr_service.logs import configure_logs  # noqa: PLC0415
    from asr_service.settings import load_settings  # noqa: PLC0415

    given = {"model": backend.model, "devices": backend.device}
    settings = load_settings(None, **{name: value for name, value in given.items() if value is not None})
    configure_logs("error", "plain")  # the report has the errors of single recordings
    gpus = discover_gpus()
    device = parse_devices(settings.devices, gpus)[0]
    os.environ.update(engine_environment(device, gpus))  # before the libraries that read it are imported
    from asr_service.cli.transcribe.local import local_recognizer  # noqa: PLC0415

    async with local_recognizer(fields, settings, device) as local:
        yield local


def _needs_summary(run: TranscribeRun) -> bool:
    """False if the only result is one printed transcript."""
    prints_one = len(run.plan.tasks) == 1 and not run.plan.tasks[0].output_paths
    return not prints_one or bool(run.plan.known_results)


def _exit_now(code: int) -> NoReturn:
    """End without waiting for threads: one may be inside a model call or blocked on a pipe."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
