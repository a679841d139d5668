"""The contract between an attempt at a job and what transcribes its recording."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from asr_service.engine.request_options import RequestOptions
from asr_service.transcript import Segment, Transcript


@dataclass(frozen=True, slots=True)
class Work:
    """What an executor must know of a job, in addition to the recording."""

    job_id: str
    owner: str
    """The name of the API key that created the job; empty without keys."""
    options: RequestOptions
    """As they were sent. The executor completes them with its settings and its model."""
    resume_key: str | None = None
    """The key of the run that yielded the `earlier` segments."""
    earlier: tuple[Segment, ...] = ()
    """The segments of an interrupted run, in order."""
    recording_sha256: str | None = None
    """Digest of the recording, in hexadecimal; None if it is not known."""


@dataclass(frozen=True, slots=True)
class Started:
    """The first event of a run."""

    resume_key: str
    """Hash of everything that the segments depend on. If it is that of the Work, the run continues after `earlier`."""


@dataclass(frozen=True, slots=True)
class Length:
    """The length of the recording is known, or estimated from its header."""

    audio_s: float


Event = Started | Length | Segment | Transcript


class AttemptFailed(Exception):
    """An attempt failed in another process. `is_final` says that another one would fail too."""

    def __init__(self, code: str, message: str, *, is_final: bool) -> None:
        """Create it with the code and message of the error there."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.is_final = is_final


class WorkReturned(Exception):
    """The executor cannot do the work, and the recording is not at fault: the attempt does not count."""


class JobExecutor(Protocol):
    """Transcribes recordings for jobs. Several runs may be under way at the same time, on one event loop."""

    def transcribe(self, work: Work, file: BinaryIO) -> AsyncGenerator[Event]:
        """Yield Started, then each new Segment as soon as it is known, and last the Transcript, which has all of them.

        A Length may come before any Segment. The first Segment replaces the one of `earlier` with its number (`id`),
        and all after it: the last ones may be decoded again, and all are if the run does not continue after them.
        `file` is open and seekable. Closing the generator cancels the run.

        The result of an equal job that is stored has a Transcript and no Segments.

        Raises RequestError: the recording cannot be transcribed, and another attempt would fail too.
        Raises AsrError, AttemptFailed: this attempt failed.
        Raises WorkReturned: the executor cannot do the work now.
        """
