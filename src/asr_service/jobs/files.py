"""The contract of a store of the recordings and transcripts of jobs."""

from collections.abc import Sequence
from typing import BinaryIO, Protocol


class FileMissing(Exception):
    """The file does not exist any more."""


class JobFiles(Protocol):
    """The contract of a store of files. Every method blocks.

    What was stored when a method returned survives a crash and a power failure. No reader sees an incomplete file.
    Every method raises Unavailable: a file cannot be written or read at the moment, such as on a full disk.
    """

    def store_audio(self, job_id: str, source: BinaryIO) -> int:
        """Copy a whole recording. Returns its size in bytes."""

    def open_audio(self, job_id: str) -> BinaryIO:
        """Return the recording as an open file with a descriptor; from an object store, as a temporary file.

        Raises FileMissing.
        """

    def store_transcript(self, job_id: str, data: bytes) -> None: ...

    def load_transcript(self, job_id: str) -> bytes:
        """Return what was stored. Raises FileMissing."""

    def delete_audio(self, job_id: str) -> None: ...

    def delete(self, job_id: str) -> None:
        """Delete the recording and the transcript, if they exist."""

    def old_audio(self, min_age_s: float) -> Sequence[str]:
        """Return the ids of jobs whose recordings are older than `min_age_s`. Deletes incomplete files of that age."""

    def old_transcripts(self, min_age_s: float) -> Sequence[str]:
        """Return the ids of jobs whose transcripts are older than `min_age_s`. Deletes incomplete files of that age."""
