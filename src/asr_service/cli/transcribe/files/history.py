"""Remember with which options each output was made, so that a later command can skip outputs that are up to date.

Each folder with outputs has a hidden file `.asr-service.jsonl`, with a line of JSON for each output that was written.
It goes with the folder when that is moved or shared. Without it, only the time of an output is known.
"""

import json
import os
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

FILE_NAME: Final = ".asr-service.jsonl"

Options = Mapping[str, Any]
"""Options that change an output, by name. The values are what JSON has."""

Origin = Literal["same", "other", "changed", "unknown"]
"""How an output was made. `same`: with these options. `other`: with other ones. `changed`: with other ones, and it was
changed since. `unknown`: there is no record of it."""


@dataclass(frozen=True, slots=True)
class _Record:
    size: int
    mtime_ns: int
    options: Options

    def fits(self, status: os.stat_result) -> bool:
        return (self.size, self.mtime_ns) == (status.st_size, status.st_mtime_ns)


class History:
    """Reads the records of any number of folders, each once."""

    def __init__(self) -> None:
        self._folders: dict[Path, Mapping[str, list[_Record]]] = {}

    def origin(self, path: Path, status: os.stat_result, options: Options) -> Origin:
        """Compare how the output at `path` was made with `options`. `status` is that of the output."""
        if path.parent not in self._folders:
            self._folders[path.parent] = _read(path.parent / FILE_NAME)
        records = self._folders[path.parent].get(path.name)
        if not records:
            return "unknown"
        for record in reversed(records):
            if record.fits(status):
                return "same" if record.options == options else "other"
        return "same" if records[-1].options == options else "changed"


def remember(path: Path, options: Options, status: os.stat_result) -> None:
    """Record how an output is made, before it gets its name. Without space or permission, nothing is recorded."""
    record = {"file": path.name, "size": status.st_size, "mtime_ns": status.st_mtime_ns, "options": dict(options)}
    with suppress(OSError):
        descriptor = os.open(path.parent / FILE_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            file.write(json.dumps(record).encode() + b"\n")  # in one write, since other processes may append too


def _read(path: Path) -> Mapping[str, list[_Record]]:
    records: dict[str, list[_Record]] = defaultdict(list)
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return records
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):  # a line that was not written completely
            fields = json.loads(line)
            records[str(fields["file"])].append(_Record(fields["size"], fields["mtime_ns"], dict(fields["options"])))
    return records
