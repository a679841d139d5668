"""`asr-service transcribe` at work, from its plan to its exit code."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, NoReturn

from rich.console import Console

from asr_service.cli.transcribe.files import Rendering
from asr_service.cli.transcribe.plan import Plan
from asr_service.cli.transcribe.progress import Bars, Silence
from asr_service.cli.transcribe.report import Report
from asr_service.cli.transcribe.run import Watcher, run_jobs
from asr_service.cli.transcribe.types import Fields, Recognizer
from asr_service.errors import InvalidParameter, StartupError

_SOME_FAILED: Final = 1
_USAGE: Final = 2
_INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class Place:
    """Where it is done."""

    server: str | None
    """None is a model in this process: `model` on `device`, or as the settings say."""
    api_key: str | None
    model: str | None
    device: str | None


@dataclass(frozen=True, slots=True)
class Work:
    plan: Plan
    fields: Fields
    rendering: Rendering
    place: Place
    at_once: int
    as_json: bool


def do_work(work: Work) -> NoReturn:
    """Do what is planned, tell of it, and end the process."""
    console = Console(stderr=True, highlight=False)
    report = Report(console, as_json=work.as_json)
    began = time.monotonic()
    # Before the runner is closed, which would wait for threads that read a pipe or call the model.
    with asyncio.Runner() as runner:
        code = _run(runner, work, report, console)
        if _is_worth_a_summary(work):
            report.summarize(time.monotonic() - began, n_planned=len(work.plan.jobs) + len(work.plan.settled))
        _leave(code)


def _run(runner: asyncio.Runner, work: Work, report: Report, console: Console) -> int:
    try:
        for result in work.plan.settled:
            report.tell(result)
        if work.plan.jobs:
            runner.run(_transcribe(work, report, console))
    except KeyboardInterrupt:
        report.say("interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        return _SOME_FAILED
    except InvalidParameter as error:  # what only the model could know
        report.say(f"asr-service transcribe: {error.message}")
        return _USAGE
    except StartupError as error:
        report.say(f"asr-service transcribe: {error.message}")
        return error.exit_code
    return _SOME_FAILED if report.any_failed else 0


async def _transcribe(work: Work, report: Report, console: Console) -> None:
    jobs = work.plan.jobs
    async with AsyncExitStack() as stack:
        recognizer = await stack.enter_async_context(_recognizer(work.place, work.fields))
        watcher: Watcher = Silence()
        if console.is_terminal and not (work.as_json and sys.stdout.isatty()):
            from asr_service.cli.transcribe.lengths import measuring  # noqa: PLC0415

            watcher = bars = stack.enter_context(Bars(jobs, console))
            await stack.enter_async_context(measuring(jobs, bars.measured))
        await run_jobs(jobs, recognizer, work.rendering, watcher, report.tell, at_once=work.at_once)


@asynccontextmanager
async def _recognizer(place: Place, fields: Fields) -> AsyncIterator[Recognizer]:
    """Import what the work needs, and nothing else: either way is slow."""
    if place.server is not None:
        from asr_service.cli.transcribe.remote import remote_recognizer  # noqa: PLC0415

        async with remote_recognizer(place.server, place.api_key, fields) as remote:
            yield remote
        return
    from asr_service.hardware.environment import engine_environment  # noqa: PLC0415
    from asr_service.hardware.nvml import discover_gpus  # noqa: PLC0415
    from asr_service.hardware.spec import parse_devices  # noqa: PLC0415
    from asr_service.logs import configure_logs  # noqa: PLC0415
    from asr_service.settings import load_settings  # noqa: PLC0415

    given = {"model": place.model, "devices": place.device}
    settings = load_settings(None, **{name: value for name, value in given.items() if value is not None})
    configure_logs("error", "plain")  # what befalls a recording is told in its own line
    gpus = discover_gpus()
    device = parse_devices(settings.devices, gpus)[0]
    os.environ.update(engine_environment(device, gpus))  # before what reads it is imported
    from asr_service.cli.transcribe.local import local_recognizer  # noqa: PLC0415

    async with local_recognizer(fields, settings, device) as local:
        yield local


def _is_worth_a_summary(work: Work) -> bool:
    """One transcript that was printed speaks for itself."""
    prints_one = len(work.plan.jobs) == 1 and not work.plan.jobs[0].paths
    return not prints_one or bool(work.plan.settled)


def _leave(code: int) -> NoReturn:
    """End at once: a thread may be in the middle of a call of the model, or wait for a pipe."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
