"""From the names on the command line to what is to be done: pure but for looking at the file system."""

import glob
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from asr_service.cli.transcribe.types import STDIN, Job, OutputFormat, Result, Target

SUFFIXES: Final = frozenset({
    ".3g2", ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".asf", ".au", ".avi", ".awb", ".caf", ".eac3",
    ".flac", ".gsm", ".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4", ".mpga", ".oga", ".ogg",
    ".ogv", ".opus", ".snd", ".sph", ".spx", ".w64", ".wav", ".webm", ".wma", ".wmv",
})  # fmt: skip
"""What a file in a folder must end in to be taken for a recording. A file that is named may be called anything."""

_STDIN_STEM: Final = "stdin"
_GLOB: Final = frozenset("*?[")
_OUTPUT_SUFFIXES: Final = frozenset(f".{fmt}" for fmt in OutputFormat)


class Ambiguous(Exception):
    """Two recordings would be written to one file. The message names them."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be written, and where."""

    formats: tuple[OutputFormat, ...]
    folder: Path | None = None
    """None is beside each recording."""
    to_stdout: bool = False
    overwrite: bool = False

    @property
    def has_subtitles(self) -> bool:
        return any(fmt.is_subtitles for fmt in self.formats)


@dataclass(frozen=True, slots=True)
class Plan:
    jobs: tuple[Job, ...]
    settled: tuple[Result, ...]
    """What needs no work: finished before, or no recording at all."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A recording, and where its outputs go below the output folder."""

    path: Path | None
    below: Path


@dataclass(slots=True)
class _Search:
    """Recordings by the names that lead to them, each once, in the order they were named."""

    found: dict[str, _Found] = field(default_factory=dict)
    failures: list[Result] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Take a file, a folder and all below it, a pattern, or `-`. A file of such a name comes before a pattern."""
        if name == STDIN:
            self._keep(_Found(None, Path(_STDIN_STEM)))
        elif os.path.lexists(name) or not _GLOB.intersection(name):
            self._add_path(Path(name))
        else:
            matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - an absolute pattern, too
            for match in matches:
                self._add_path(Path(match))
            if not matches:
                self.fail(name, "no file matches this")

    def fail(self, name: str, reason: str) -> None:
        self.failures.append(Result(name, "failed", error=reason))

    def _add_path(self, path: Path) -> None:
        try:
            mode = path.stat().st_mode
        except OSError as error:
            self.fail(str(path), _reason(error))
            return
        if stat.S_ISDIR(mode):
            self._add_folder(path)
        elif not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            self.fail(str(path), "neither a file nor a folder nor a pipe")
        elif path.suffix.lower() not in _OUTPUT_SUFFIXES:  # `asr-service transcribe *` meets what it wrote before
            self._keep(_Found(path, Path(path.name)))

    def _add_folder(self, folder: Path) -> None:
        recordings = list(self._below(folder))
        for path in recordings:
            self._keep(_Found(path, path.relative_to(folder)))
        if not recordings:
            self.fail(str(folder), "no recordings in this folder")

    def _below(self, folder: Path) -> Iterator[Path]:
        unreadable: list[OSError] = []
        for parent, folders, names in os.walk(folder, onerror=unreadable.append):
            folders.sort()
            for name in sorted(names):
                path = Path(parent, name)
                if path.suffix.lower() in SUFFIXES and os.path.isfile(path):  # noqa: PTH113 - Path's may raise
                    yield path
        for error in unreadable:
            self.fail(str(error.filename), _reason(error))

    def _keep(self, found: _Found) -> None:
        key = STDIN if found.path is None else os.path.abspath(found.path)  # noqa: PTH100 - resolve() would join links
        self.found.setdefault(key, found)


def make_plan(names: Iterable[str], wanted: Wanted) -> Plan:
    """Find the recordings and what each is to be written to, and set aside what is finished. Raises Ambiguous."""
    search = _Search()
    for name in names:
        search.add(name)
    jobs = _jobs(list(search.found.values()), wanted)
    _refuse_clashes(jobs)
    finished = set() if wanted.overwrite else {job for job in jobs if _is_finished(job)}
    skipped = [Result(job.name, "skipped", job.paths) for job in jobs if job in finished]
    return Plan(tuple(job for job in jobs if job not in finished), (*search.failures, *skipped))


def _jobs(found: Sequence[_Found], wanted: Wanted) -> list[Job]:
    namesakes = _Namesakes(each.path for each in found if each.path is not None)
    return [Job(each.path, tuple(_targets(each, wanted, namesakes))) for each in found]


def _targets(found: _Found, wanted: Wanted, namesakes: "_Namesakes") -> Iterator[Target]:
    for fmt in wanted.formats:
        if wanted.to_stdout:
            yield Target(fmt, None)
            continue
        folder = _folder_of(found, wanted.folder)
        keeps_suffix = found.path is None or namesakes.has_any(found.path)
        stem = found.below.name if keeps_suffix else found.below.stem
        yield Target(fmt, folder / f"{stem}.{fmt}")


def _folder_of(found: _Found, folder: Path | None) -> Path:
    if folder is not None:
        return folder / found.below.parent
    return Path() if found.path is None else found.path.parent


class _Namesakes:
    """Tells recordings apart that differ by their suffix alone, such as talk.mp3 and talk.wav in one folder.

    What lies in the folder counts, named or not: a recording's output is called the same on every run.
    """

    def __init__(self, named: Iterable[Path]) -> None:
        self._named = Counter((path.parent, path.stem) for path in named if path.suffix.lower() not in SUFFIXES)
        self._lying: dict[Path, Counter[str]] = {}

    def has_any(self, path: Path) -> bool:
        return self._named[path.parent, path.stem] + self._in(path.parent)[path.stem] > 1

    def _in(self, folder: Path) -> Counter[str]:
        if folder not in self._lying:
            try:
                names = [Path(name) for name in os.listdir(folder)]  # noqa: PTH208 - the names alone
            except OSError:  # one may read a file of a folder that one may not list
                names = []
            self._lying[folder] = Counter(name.stem for name in names if name.suffix.lower() in SUFFIXES)
        return self._lying[folder]


def _refuse_clashes(jobs: Iterable[Job]) -> None:
    writers: dict[str, Job] = {}
    for job in jobs:
        for path in job.paths:
            other = writers.setdefault(os.path.abspath(path), job)  # noqa: PTH100 - the same
            if other is not job:
                raise Ambiguous(
                    f"{other.name} and {job.name} would both be written to {path}: name the folder above them, which"
                    " keeps its tree, or give them other --output-dirs"
                )


def _is_finished(job: Job) -> bool:
    """All of it has been written since the recording was last changed, as `make` would judge."""
    if job.source is None or len(job.paths) < len(job.targets):
        return False
    try:
        source = job.source.stat()
        outputs = [path.stat() for path in job.paths]
    except OSError:
        return False
    return stat.S_ISREG(source.st_mode) and all(
        stat.S_ISREG(output.st_mode) and output.st_mtime_ns >= source.st_mtime_ns and not _is_stdout(output)
        for output in outputs
    )


def _is_stdout(output: os.stat_result) -> bool:
    """Whether the shell has just made it: `asr-service transcribe talk.mp3 -f srt > talk.srt`."""
    try:
        return os.path.samestat(output, os.fstat(1))
    except OSError:  # closed
        return False


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
