"""Keep the segments of a recording in progress, so that an interrupted run can continue after them.

A journal is a hidden file in the folder of the outputs. If the transcript is printed, it is in `asr-service` below
XDG_STATE_HOME (`~/.local/state` by default). Its name is a digest of the recording and of everything that the segments
depend on, so a journal never fits another recording, a changed one, or other options. It is removed when the recording
is finished.
"""

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from asr_service.cli.transcribe.types import FileTask
from asr_service.transcript import Segment
from asr_service.transcript.codec import TranscriptUnreadable, decode_segment, encode_segment

_PREFIX: Final = ".asr-"
_SUFFIX: Final = ".partial"
_DIGITS: Final = 16
_MAX_AGE_S: Final = 30 * 24 * 3600
"""How long the state folder keeps a journal that no run has continued."""


class Journal:
    """The segments of one recording that are known so far."""

    def __init__(self, path: Path | None) -> None:
        """`path` is None if nothing is to be kept."""
        self._path = path
        self._descriptor: int | None = None
        self.earlier: tuple[Segment, ...] = () if path is None else tuple(_read(path))
        """The segments that an interrupted run has left."""

    def add(self, segment: Segment) -> None:
        """Keep a segment. If it cannot be written, the journal ends here: the transcript does not depend on it."""
        if self._path is None:
            return
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            # The line end comes first: the last line of a killed run may be incomplete.
            os.write(self._descriptor, b"\n" + encode_segment(segment).encode())
        except OSError:
            self._path = None

    def remove(self) -> None:
        """Remove the file, and those that other options have left for the same recording."""
        if self._path is not None and (self.earlier or self._descriptor is not None):
            for path in self._path.parent.glob(f"{self._path.name[: len(_PREFIX) + _DIGITS]}-*{_SUFFIX}"):
                with suppress(OSError):
                    path.unlink()

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextmanager
def open_journal(task: FileTask, file: BinaryIO, resume_key: str | None) -> Iterator[Journal]:
    """Open the journal of a recording, which keeps nothing if the recording is a pipe or if `resume_key` is None.

    `resume_key` identifies everything but the recording that the segments depend on.
    """
    status = os.fstat(file.fileno())
    path = None
    if task.source is not None and resume_key is not None and stat.S_ISREG(status.st_mode) and status.st_size:
        source = os.path.abspath(task.source)  # noqa: PTH100 - resolve() would follow links
        own = f"{status.st_size} {status.st_mtime_ns} {resume_key}"
        folder = task.output_paths[0].parent if task.output_paths else _state_folder()
        path = folder and folder / f"{_PREFIX}{_digest(source)}-{_digest(own)}{_SUFFIX}"
    journal = Journal(path)
    try:
        yield journal
    finally:
        journal.close()


def _read(path: Path) -> Iterator[Segment]:
    """Yield the segments of a journal. A run that went on has written its first segments a second time."""
    segments: list[Segment] = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        with suppress(TranscriptUnreadable):  # an empty line, or one that was not written completely
            segment = decode_segment(line)
            if segment.id > len(segments):  # a line before it is lost
                break
            segments[segment.id :] = [segment]
    yield from segments


def _state_folder() -> Path | None:
    """Create and return the folder for the journals of printed transcripts. None if there cannot be one."""
    try:
        home = os.environ.get("XDG_STATE_HOME", "")
        folder = (Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "state") / "asr-service"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
            if path.stat().st_mtime < time.time() - _MAX_AGE_S:
                path.unlink()
    except (OSError, RuntimeError):  # RuntimeError: there is no home directory
        return None
    return folder


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:_DIGITS]
