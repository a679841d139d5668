"""Recordings opened and transcripts written, so that no output is ever half there."""

import asyncio
import errno
import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final, cast

from asr_service.cli.transcribe.types import Job, OutputFormat
from asr_service.errors import StartupError
from asr_service.formats import FORMATS, SubtitleStyle
from asr_service.transcript import Transcript

_SPOOL_BYTES: Final = 1024 * 1024
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class NoRoom(StartupError):
    """What is yet to come would find no room either."""

    code = "no_room"


@asynccontextmanager
async def opened(source: Path | None) -> AsyncIterator[BinaryIO]:
    """Open a recording so that it can be read more than once; a pipe is read to its end first. Raises OSError."""
    file = await asyncio.to_thread(_open, source)  # a pipe may keep one waiting for as long as it likes
    try:
        yield file
    finally:
        file.close()


def _open(source: Path | None) -> BinaryIO:
    file = os.fdopen(os.dup(sys.stdin.fileno()), "rb") if source is None else source.open("rb")
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    with file:
        return _spooled(file)


def _spooled(pipe: BinaryIO) -> BinaryIO:
    file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - its caller closes it
    try:
        shutil.copyfileobj(pipe, file, _SPOOL_BYTES)
        file.flush()
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def make_room(job: Job) -> None:
    """Find out ahead of the work whether its outputs can be written at all. Raises OSError."""
    for folder in {path.parent for path in job.paths}:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "may not be written to", str(folder))


@dataclass(frozen=True, slots=True)
class Rendering:
    """How transcripts are written down."""

    style: SubtitleStyle
    words_in_json: bool
    """Word times may have been taken for the sake of subtitles alone."""

    def render(self, fmt: OutputFormat, transcript: Transcript) -> bytes:
        """Give the bytes that the service would answer with."""
        if fmt is OutputFormat.JSON and not self.words_in_json:
            segments = tuple(replace(segment, words=None) for segment in transcript.segments)
            transcript = replace(transcript, segments=segments)
        return FORMATS[fmt.response_format].in_style(self.style).render(transcript).encode()


def write_outputs(job: Job, transcript: Transcript, rendering: Rendering) -> None:
    """Write the job's files. Raises OSError; NoRoom where the disk is full."""
    for target in job.targets:
        if target.path is not None:
            _replace(target.path, rendering.render(target.fmt, transcript))


class Printer:
    """Writes transcripts to standard output in the order their recordings were named, whichever is done first."""

    def __init__(self, jobs: Sequence[Job], rendering: Rendering) -> None:
        self._waiting = list(jobs)
        self._rendering = rendering
        self._ready: dict[str, bytes] = {}

    def settle(self, job: Job, transcript: Transcript | None) -> None:
        """Take a job's transcript, None where it failed, and print what need wait no longer.

        Raises as `print_bytes` does.
        """
        texts = [] if transcript is None else [self._rendering.render(target.fmt, transcript) for target in job.targets]
        self._ready[job.name] = b"".join(map(_ended, texts))
        while self._waiting and self._waiting[0].name in self._ready:
            print_bytes(self._ready.pop(self._waiting.pop(0).name))


def print_bytes(text: bytes) -> None:
    """Write to standard output, at once. Raises BrokenPipeError: nobody reads it. NoRoom: it takes no more."""
    try:
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise NoRoom(f"standard output: {(error.strerror or str(error)).lower()}") from error


def _ended(text: bytes) -> bytes:
    return text if not text or text.endswith(b"\n") else text + b"\n"


def _replace(path: Path, content: bytes) -> None:
    """Put a file in its place whole, or not at all, whenever the process or the machine may end."""
    part = path.with_name(
        f".asr-{secrets.token_hex(8)}.part"
    )  # a name of its own: the output's may be as long as may be
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        if error.errno in _NO_ROOM:
            raise NoRoom(f"there is no room for {path}: {error.strerror}; what was finished stays") from error
        raise
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
