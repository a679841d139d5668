"""Render transcripts and write them to files or to standard output. A file is written whole or not at all."""

import errno
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from asr_service.cli.terminal import DiskFull, print_bytes
from asr_service.cli.transcribe.files.history import Options, remember
from asr_service.cli.transcribe.types import FileTask
from asr_service.formats import FILE_FORMATS, Format, SubtitleStyle
from asr_service.formats.json import with_rounded_times
from asr_service.transcript import Transcript

_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_ANOTHER_FOLDER: Final = "Choose another folder with --output-dir."


@dataclass(frozen=True, slots=True)
class Renderer:
    """Renders transcripts as the service does."""

    style: SubtitleStyle
    words_in_json: bool
    """False leaves word times out of JSON: they may have been requested for subtitles only."""
    text_options: Mapping[str, Any] = field(default_factory=dict)
    """The model and the options that change the text, by name."""

    def options_of(self, fmt: Format) -> Options:
        """Return everything that changes an output of this format."""
        options = dict(self.text_options)
        if fmt.styled is not None:
            options |= asdict(self.style)
        if fmt is FILE_FORMATS["json"]:
            options["word_timestamps"] = self.words_in_json
        return options

    def render(self, fmt: Format, transcript: Transcript) -> bytes:
        """Return the bytes to write. They are the same for a local transcript and for one from a service."""
        if fmt is FILE_FORMATS["json"] and not self.words_in_json:
            segments = tuple(replace(segment, words=None) for segment in transcript.segments)
            transcript = replace(transcript, segments=segments)
        return fmt.in_style(self.style).render(with_rounded_times(transcript)).encode()


def prepare_output_folders(task: FileTask) -> None:
    """Create the output folders, and check before the work that they can be written to. Raises OSError."""
    for folder in {path.parent for path in task.output_paths}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise FileExistsError(errno.EEXIST, f"this is a file. {_ANOTHER_FOLDER}", str(folder)) from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, f"the folder is not writable. {_ANOTHER_FOLDER}", str(folder))


def write_outputs(task: FileTask, transcript: Transcript, renderer: Renderer) -> None:
    """Write the task's files.

    Raises OSError: a file cannot be written.
    Raises DiskFull: there is no space left.
    """
    for output in task.outputs:
        if output.path is not None:
            on_written = partial(remember, output.path, renderer.options_of(output.fmt))
            _write_atomically(output.path, renderer.render(output.fmt, transcript), on_written)


class OrderedPrinter:
    """Prints transcripts in the order in which their recordings were named, whichever is finished first."""

    def __init__(self, tasks: Sequence[FileTask], renderer: Renderer) -> None:
        self._waiting = list(tasks)
        self._renderer = renderer
        self._ready: dict[str, bytes] = {}

    def add(self, task: FileTask, transcript: Transcript | None) -> None:
        """Take a task's transcript, None if it failed, and print all that no longer has to wait.

        Raises the errors of `print_bytes`.
        """
        texts = [] if transcript is None else [self._renderer.render(each.fmt, transcript) for each in task.outputs]
        self._ready[task.name] = b"".join(map(_with_newline, texts))
        while self._waiting and self._waiting[0].name in self._ready:
            print_bytes(self._ready.pop(self._waiting.pop(0).name))


def _with_newline(text: bytes) -> bytes:
    return text if not text or text.endswith(b"\n") else text + b"\n"


def _write_atomically(path: Path, content: bytes, on_written: Callable[[os.stat_result], None]) -> None:
    """Write a file whole or not at all, even if the process or the machine stops.

    `on_written` is called before the file gets its name.
    """
    # A short name of its own: the output's name may already have the maximum length.
    part = path.with_name(f".asr-{secrets.token_hex(8)}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            on_written(os.fstat(file.fileno()))
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        if error.errno in _DISK_FULL:
            raise DiskFull(f"{path} cannot be written: {error.strerror}. Finished files are kept.") from error
        raise
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
