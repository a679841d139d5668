"""What the processes of a running stack hold, by /proc: where a request is, and what was left behind."""

import contextlib
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

import psutil

from benchmarks.common.stack import SLOTS, Stack, until

Step = Literal["receiving", "decoding", "inferring"]

_LEAST_RECEIVED_BYTES = 1024**2
_SCRAPES = 5


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request is."""

    slot: int
    worker: int
    """Its pid."""
    decoder: int | None = None
    """The pid of the child that decodes it."""


def reached(stack: Stack, step: Step, n_bytes: int) -> Place:
    """Wait until the request whose file has so many bytes, as no other has, is at the step. Raises TimeoutError."""
    look = {"receiving": _receiving, "decoding": _decoding, "inferring": _inferring}[step]
    if step == "inferring":
        reached(stack, "decoding", n_bytes)
    return until(lambda: look(stack, n_bytes), 60, f"a request that is {step}", every_s=0.001)


def decoder_server(worker: int) -> int:
    """The pid of the worker's decoder server. Raises IndexError: it has none."""
    return psutil.Process(worker).children()[0].pid


def _receiving(stack: Stack, n_bytes: int) -> Place | None:
    """A part of it is on the worker's disk."""
    for slot in SLOTS:
        worker = stack.worker(slot)
        if any(_LEAST_RECEIVED_BYTES <= size < n_bytes for size in _file_sizes(worker)):
            return Place(slot, worker)
    return None


def _decoding(stack: Stack, n_bytes: int) -> Place | None:
    """A decoder's child has it open."""
    for slot in SLOTS:
        worker = stack.worker(slot)
        for child in _grandchildren(worker):
            if n_bytes in _file_sizes(child):
                return Place(slot, worker, child)
    return None


def _inferring(stack: Stack, n_bytes: int) -> Place | None:
    """It is decoded, and the worker holds it still."""
    if _decoding(stack, n_bytes):
        return None
    for slot in SLOTS:
        worker = stack.worker(slot)
        if n_bytes in _file_sizes(worker):
            return Place(slot, worker)
    return None


def _grandchildren(pid: int) -> list[int]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [grandchild.pid for child in psutil.Process(pid).children() for grandchild in child.children()]
    return []


def _file_sizes(pid: int) -> set[int]:
    """Of the files that the process has open."""
    return set(_sizes(Path(f"/proc/{pid}/fd")))


def _sizes(folder: Path) -> Iterator[int]:
    with contextlib.suppress(OSError):  # it has ended
        for entry in folder.iterdir():
            with contextlib.suppress(OSError):
                yield entry.stat().st_size


@dataclass(frozen=True, slots=True)
class Footprint:
    """What must be the same before and after, with no request under way."""

    processes: tuple[str, ...]
    """Commands of all processes that the service began, whoever their parent is now."""
    master_files: tuple[str, ...]
    """Kinds of descriptors with how many there are: files, sockets, pipes."""
    nginx_descriptors: int
    run_dir: tuple[str, ...]
    spooled_bytes: int
    """On the disks for uploads, files without a name included where these are file systems of their own."""
    shared_memory: tuple[str, ...]
    """Files in /dev/shm that one of the processes has mapped or open."""

    def difference(self, other: "Footprint") -> str:
        """What is otherwise there; empty where nothing is."""
        fields = ("processes", "master_files", "nginx_descriptors", "run_dir", "spooled_bytes", "shared_memory")
        changed = [name for name in fields if getattr(self, name) != getattr(other, name)]
        return "; ".join(f"{name}: {getattr(self, name)} became {getattr(other, name)}" for name in changed)


def footprint(stack: Stack) -> Footprint:
    family = _session(stack.service.pid)
    return Footprint(
        processes=tuple(sorted(_short(process) for process in family)),
        master_files=tuple(f"{count} {kind}" for kind, count in sorted(_descriptors(stack.service.pid).items())),
        nginx_descriptors=sum(sum(_descriptors(process.pid).values()) for process in _session(stack.nginx.pid)),
        run_dir=tuple(sorted(str(path.relative_to(stack.run_dir)) for path in stack.run_dir.rglob("*"))),
        spooled_bytes=sum(_used_bytes(place) for place in (stack.spool, stack.bodies)),
        shared_memory=tuple(sorted(_shared_memory(family))),
    )


def wait_for_footprint(stack: Stack, before: Footprint, within_s: float = 20.0) -> str:
    """Wait until it is as before. Returns what is still otherwise; empty where nothing is."""
    deadline = time.monotonic() + within_s
    while (changed := before.difference(footprint(stack))) and time.monotonic() < deadline:
        time.sleep(0.2)
    return changed


def _session(leader: int) -> list[psutil.Process]:
    """All processes of a session: an orphan stays in it."""
    return [process for process in psutil.process_iter() if _session_of(process.pid) == leader]


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _used_bytes(place: Path) -> int:
    if place.is_mount():
        return shutil.disk_usage(place).used
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())


def _short(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        command = process.cmdline()
        return "decoder server" if any("fork_server" in word for word in command) else "service"
    return "ended"


def _descriptors(pid: int) -> Counter[str]:
    kinds: Counter[str] = Counter()
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                kinds[re.sub(r":\[\d+\]$|/.*", "", str(entry.readlink())) or "file"] += 1
    return kinds


def _shared_memory(family: list[psutil.Process]) -> Iterator[str]:
    names = {path.name for path in Path("/dev/shm").iterdir()} if Path("/dev/shm").is_dir() else set()
    for process in family:
        with contextlib.suppress(OSError):
            mapped = Path(f"/proc/{process.pid}/maps").read_text()
            yield from (name for name in names if f"/dev/shm/{name}\n" in mapped)


@dataclass(frozen=True, slots=True)
class Scrape:
    """/metrics with no request under way."""

    samples: dict[str, float]
    took_s: float
    """Median of a few."""

    def complaints(self, n_restarts: int) -> tuple[str, ...]:
        """What the gauges say wrongly of two ready slots whose workers were replaced so often."""
        wanted = {f'asr_slot_ready{{slot="{slot}"}}': 1.0 for slot in SLOTS}
        wanted |= {f'{name}{{slot="{slot}"}}': 0.0 for name in _IDLE for slot in SLOTS}
        wrong = [
            f"{name} is {self.samples.get(name)}" for name, value in wanted.items() if self.samples.get(name) != value
        ]
        restarts = sum(value for name, value in self.samples.items() if name.startswith("asr_worker_restarts_total"))
        if restarts != n_restarts:
            wrong.append(f"asr_worker_restarts_total is {restarts:.0f}, and {n_restarts} workers were replaced")
        n_rss = sum(name.startswith("asr_worker_rss_bytes") for name in self.samples)
        if n_rss != len(SLOTS):
            wrong.append(f"asr_worker_rss_bytes has {n_rss} series")
        return tuple(wrong)


_IDLE = ("asr_inflight_requests", "asr_queue_depth", "asr_queue_audio_seconds")


def scrape(stack: Stack) -> Scrape:
    took_s = []
    for _ in range(_SCRAPES):
        began = time.monotonic()
        text = stack.get("/metrics").text
        took_s.append(time.monotonic() - began)
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return Scrape({name: float(value) for name, _, value in lines}, median(took_s))
