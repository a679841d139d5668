"""The file that marks the directory with the files of a store's jobs."""

import errno
import secrets
from pathlib import Path

from asr_service.jobs.store import JobStore


class Marker:
    """Tells the directory of a store's files from an empty mount point, and from a directory of another machine.

    The first process that uses a directory with a store makes a file there, and the store keeps its id.
    """

    def __init__(self, directory: Path, store: JobStore) -> None:
        self._directory = directory
        self._store = store
        self._offered = secrets.token_hex(4)
        self._path: Path | None = None

    def check(self) -> None:
        """Raise OSError: the directory does not exist, or it has no marker. Raises Unavailable: the store is down."""
        if self._path is None:
            self._path = self._find()
        if not self._path.exists():
            raise FileNotFoundError(
                errno.ENOENT,
                f"{self._directory} has no file {self._path.name}, so it is not the directory of these jobs; mount it "
                "or, if its files are lost, create this file",
            )

    def _find(self) -> Path:
        """Return the path of the marker, which is made before the store learns its id."""
        if files_id := self._store.files_id():
            return self._path_of(files_id)
        offered = self._path_of(self._offered)
        offered.touch(mode=0o600)
        found = self._path_of(self._store.files_id(self._offered))
        if found != offered:  # another process was faster
            offered.unlink()
        return found

    def _path_of(self, files_id: str) -> Path:
        return self._directory / marker_name(files_id)


def marker_name(files_id: str) -> str:
    """Return the name of the marker of the directory with this id."""
    return f"jobs-{files_id}.marker"
