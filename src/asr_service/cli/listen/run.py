"""Run `asr-service listen` from its sound to its exit code."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

import numpy as np
import typer
from numpy.typing import NDArray

from asr_service import tasks
from asr_service.cli.backend import Backend, Service, prepare_local
from asr_service.cli.listen.display import TurnDisplay
from asr_service.cli.listen.sound import microphone, recording, require_microphone
from asr_service.cli.terminal import os_reason
from asr_service.client.live import FailedText, LiveText, connect_live
from asr_service.errors import AsrError, StartupError

if TYPE_CHECKING:
    from asr_service.settings import Settings

_FAILED: Final = 1
_INTERRUPTED: Final = 130
_LAST_TEXT_TIMEOUT_S: Final = 30.0
"""How long the final text may take after Ctrl-C. A second Ctrl-C does not wait for it."""


class Session(Protocol):
    """Takes samples and yields texts: a session with a service, or with a model in this process."""

    async def feed(self, samples: NDArray[np.float32]) -> None: ...

    async def finish(self) -> None: ...

    def texts(self) -> AsyncIterator[LiveText]: ...


@dataclass(frozen=True, slots=True)
class Listening:
    """Everything that one `asr-service listen` needs."""

    file: Path | None
    """None for the microphone."""
    backend: Backend
    language: str | None
    prompt: str | None


def listen_and_exit(asked: Listening) -> NoReturn:
    """Listen until the sound ends or Ctrl-C is pressed, and end the process.

    The first Ctrl-C ends the sound: what was said until then still gets its final text.
    """
    display = TurnDisplay(sys.stdout, columns=shutil.get_terminal_size().columns if sys.stdout.isatty() else 0)
    with asyncio.Runner() as runner:
        try:
            code = runner.run(listen(asked, display))
        except KeyboardInterrupt:
            code = _INTERRUPTED
        except AsrError as error:
            typer.echo(f"asr-service: {error.message}", err=True)
            code = error.exit_code if isinstance(error, StartupError) else _FAILED
        except BrokenPipeError:  # the reader of the texts has ended
            code = _FAILED
        except OSError as error:
            typer.echo(f"asr-service: {error.filename or 'standard output'}: {os_reason(error)}", err=True)
            code = _FAILED
        with suppress(OSError):
            display.close()
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(code)  # threads of the model may still work


async def listen(asked: Listening, display: TurnDisplay) -> int:
    """Show the text of what is said until the sound ends or Ctrl-C is pressed. Returns the exit code.

    Raises AsrError, OSError.
    """
    if asked.file is None:
        require_microphone()  # before a model is downloaded and loaded
    async with _session(asked) as session:
        if asked.file is None:
            typer.echo("Listening. Press Ctrl-C to stop.", err=True)
        limit, n_failed = asyncio.timeout(None), 0
        try:
            async with limit:
                with _stopped_by_ctrl_c(display, limit) as stopped:
                    n_failed = await _run(session, asked.file, stopped, display)
        except TimeoutError:
            if not limit.expired():
                raise
            display.close()
            typer.echo(f"The last text did not arrive within {_LAST_TEXT_TIMEOUT_S:.0f} s.", err=True)
        if stopped.done():
            return _INTERRUPTED
        return _FAILED if n_failed else 0


@contextmanager
def _stopped_by_ctrl_c(display: TurnDisplay, limit: asyncio.Timeout) -> Iterator["asyncio.Future[None]"]:
    """Yield a future that is done at the first Ctrl-C, which also starts the limit. The second one ends the command."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[None] = loop.create_future()

    def interrupt() -> None:
        if stopped.done():
            raise KeyboardInterrupt
        stopped.set_result(None)
        limit.reschedule(loop.time() + _LAST_TEXT_TIMEOUT_S)
        display.close()
        typer.echo("Waiting for the last text. Press Ctrl-C again to stop at once.", err=True)

    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        yield stopped
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def _run(session: Session, file: Path | None, stopped: "asyncio.Future[None]", display: TurnDisplay) -> int:
    """Return the number of turns that have no text."""
    showing = asyncio.create_task(_show(session, display))
    feeding = asyncio.create_task(_feed(session, file, stopped))
    try:
        n_failed, _ = await asyncio.gather(showing, feeding)
    finally:
        await tasks.cancel([showing, feeding])
    return n_failed


async def _feed(session: Session, file: Path | None, stopped: "asyncio.Future[None]") -> None:
    sound = microphone(stopped) if file is None else recording(file, stopped)
    async for samples in sound:
        await session.feed(samples)
    await session.finish()


async def _show(session: Session, display: TurnDisplay) -> int:
    """Return the number of turns that have no text."""
    n_failed = 0
    async for text in session.texts():
        display.show(text)
        if isinstance(text, FailedText):
            n_failed += 1
            display.close()
            typer.echo(f"Some words have no text: {text.message}", err=True)
    return n_failed


@asynccontextmanager
async def _session(asked: Listening) -> AsyncIterator[Session]:
    if isinstance(asked.backend, Service):
        async with _remote(asked, asked.backend) as remote:
            yield remote
    else:
        async with _local(asked, asked.backend) as local:
            yield local


@asynccontextmanager
async def _remote(asked: Listening, service: Service) -> AsyncIterator[Session]:
    transcription = {"language": asked.language, "prompt": asked.prompt}
    async with connect_live(service.url, service.api_key, service.ca_file) as client:
        await client.configure({name: value for name, value in transcription.items() if value is not None})
        yield client


@asynccontextmanager
async def _local(asked: Listening, settings: "Settings") -> AsyncIterator[Session]:
    device = prepare_local(settings)
    from asr_service.cli.listen.local import LocalSession  # noqa: PLC0415 - slow to import
    from asr_service.cli.transcribe.local import local_engine  # noqa: PLC0415
    from asr_service.engine.pipeline.live.options import LiveOptions  # noqa: PLC0415
    from asr_service.engine.request_options import RequestOptions  # noqa: PLC0415
    from asr_service.engine.resolve_options import resolve_options  # noqa: PLC0415

    async with local_engine(settings, device) as (engine, _):
        options = RequestOptions(language=asked.language, initial_prompt=asked.prompt)
        decoding = resolve_options(options, settings, engine.loaded_model)
        async with engine.open_live(LiveOptions(decoding=decoding)) as session:
            yield LocalSession(session)
