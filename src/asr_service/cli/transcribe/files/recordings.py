"""Find the recordings that the command line names, and open them."""

import asyncio
import glob
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, cast

from asr_service.cli.terminal import os_reason
from asr_service.cli.transcribe.types import STDIN, FileResult
from asr_service.formats import FILE_FORMATS

SUFFIXES: Final = frozenset({
    ".3g2", ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".asf", ".au", ".avi", ".awb", ".caf", ".eac3",
    ".flac", ".gsm", ".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4", ".mpga", ".oga", ".ogg",
    ".ogv", ".opus", ".snd", ".sph", ".spx", ".w64", ".wav", ".webm", ".wma", ".wmv",
})  # fmt: skip
"""Suffixes of the files in a folder that are taken for recordings. A file that is named may have any other suffix."""

_STDIN_STEM: Final = "stdin"
_GLOB: Final = frozenset("*?[")
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_OUTPUT_SUFFIXES: Final = frozenset(f".{suffix}" for suffix in FILE_FORMATS)
_SPOOL_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FoundRecording:
    """A recording, and the path of its outputs relative to the output folder."""

    path: Path | None
    """None is standard input."""
    relative: Path


@dataclass(slots=True)
class RecordingSearch:
    """Finds each recording once and keeps the order in which they were named."""

    _found: dict[str, FoundRecording] = field(default_factory=dict)
    results: list[FileResult] = field(default_factory=list)
    """Names that led to no recording: failed or ignored."""

    @property
    def recordings(self) -> list[FoundRecording]:
        return list(self._found.values())

    def add(self, name: str) -> None:
        """Add a file, a folder with all below it, a glob pattern, or `-`.

        If a file has the name of the pattern, it is the file that is meant.
        """
        if name == STDIN:
            self._keep(FoundRecording(None, Path(_STDIN_STEM)))
        elif os.path.lexists(name):
            self._add_path(Path(name))
        elif _URL.match(name):
            self._fail(name, "URLs are not supported. Download the recording first.")
        elif _GLOB.intersection(name):
            matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
            for match in matches:
                self._add_path(Path(match))
            if not matches:
                self._fail(name, "no file matches this pattern")
        else:
            self._add_path(Path(name))  # fails with the system's reason

    def _fail(self, name: str, reason: str) -> None:
        self.results.append(FileResult(name, "failed", error=reason))

    def _add_path(self, path: Path) -> None:
        try:
            mode = path.stat().st_mode
        except OSError as error:
            self._fail(str(path), os_reason(error))
            return
        if stat.S_ISDIR(mode):
            self._add_folder(path)
        elif not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            self._fail(str(path), "not a file, a folder or a pipe")
        elif path.suffix.lower() in _OUTPUT_SUFFIXES:  # `asr-service transcribe *` names earlier outputs too
            self.results.append(FileResult(str(path), "ignored"))
        else:
            self._keep(FoundRecording(path, Path(path.name)))

    def _add_folder(self, folder: Path) -> None:
        unreadable: list[OSError] = []
        paths = list(_below(folder, unreadable))
        for path in paths:
            self._keep(FoundRecording(path, path.relative_to(folder)))
        for error in unreadable:
            self._fail(str(error.filename), os_reason(error))
        if not paths and not unreadable:
            self._fail(str(folder), "no recordings in this folder")

    def _keep(self, recording: FoundRecording) -> None:
        path = recording.path
        key = STDIN if path is None else os.path.abspath(path)  # noqa: PTH100 - resolve() would follow links
        self._found.setdefault(key, recording)


def _below(folder: Path, unreadable: list[OSError]) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, onerror=unreadable.append):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if path.suffix.lower() in SUFFIXES and os.path.isfile(path):  # noqa: PTH113 - Path.is_file may raise
                yield path


@asynccontextmanager
async def open_recording(source: Path | None) -> AsyncIterator[BinaryIO]:
    """Open a recording as a seekable file. A pipe is first read to its end. Raises OSError."""
    file = await asyncio.to_thread(_open, source)  # reading a pipe may block for any length of time
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
    file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - the caller closes it
    try:
        shutil.copyfileobj(pipe, file, _SPOOL_BYTES)
        file.flush()
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file
