"""Inspect the processes of a running stack through /proc: where a request is, and which resources are held."""

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

_MIN_RECEIVED_BYTES = 1024**2
_N_SCRAPES = 5


@dataclass(frozen=True, slots=True)
class RequestLocation:
    """The processes that handle a request."""

    slot: int
    worker: int
    """The worker's pid."""
    decoder: int | None = None
    """The pid of the child that decodes the recording."""


def reached(stack: Stack, step: Step, n_bytes: int) -> RequestLocation:
    """Wait until the request with a file of `n_bytes` is at the step. No other file may have the same size.

    Raises TimeoutError: when it does not reach the step within a minute.
    """
    look = {"receiving": _receiving, "decoding": _decoding, "inferring": _inferring}[step]
    if step == "inferring":
        reached(stack, "decoding", n_bytes)
    return until(lambda: look(stack, n_bytes), 60, f"A request that is {step}", every_s=0.001)


def _receiving(stack: Stack, n_bytes: int) -> RequestLocation | None:
    """Find a worker that has spooled a part of the upload."""
    for slot in SLOTS:
        worker = stack.worker(slot)
        if any(_MIN_RECEIVED_BYTES <= size < n_bytes for size in _file_sizes(worker)):
            return RequestLocation(slot, worker)
    return None


def _decoding(stack: Stack, n_bytes: int) -> RequestLocation | None:
    """Find a decoder child that has the file open."""
    for slot in SLOTS:
        worker = stack.worker(slot)
        for child in _grandchildren(worker):
            if n_bytes in _file_sizes(child):
                return RequestLocation(slot, worker, child)
    return None


def _inferring(stack: Stack, n_bytes: int) -> RequestLocation | None:
    """Find a worker that has the file open while no decoder child has."""
    if _decoding(stack, n_bytes):
        return None
    for slot in SLOTS:
        worker = stack.worker(slot)
        if n_bytes in _file_sizes(worker):
            return RequestLocation(slot, worker)
    return None


def _grandchildren(pid: int) -> list[int]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [grandchild.pid for child in psutil.Process(pid).children() for grandchild in child.children()]
    return []


def _file_sizes(pid: int) -> set[int]:
    """Return the sizes of the files that the process has open."""
    return set(_sizes(Path(f"/proc/{pid}/fd")))


def _sizes(folder: Path) -> Iterator[int]:
    with contextlib.suppress(OSError):  # the process has exited
        for entry in folder.iterdir():
            with contextlib.suppress(OSError):
                yield entry.stat().st_size


@dataclass(frozen=True, slots=True)
class Footprint:
    """The resources that must be equal before and after, with no open request."""

    processes: tuple[str, ...]
    """Names of all processes of the service, including orphans."""
    master_files: tuple[str, ...]
    """Number of file descriptors by kind: files, sockets, pipes."""
    nginx_descriptors: int
    run_dir: tuple[str, ...]
    spooled_bytes: int
    """Bytes on the disks for uploads. Unnamed files count if these are file systems of their own."""
    shared_memory: tuple[str, ...]
    """Files in /dev/shm that one of the processes has mapped."""

    def difference(self, other: "Footprint") -> str:
        """Describe the differences. Empty if there are none."""
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
        spooled_bytes=sum(_used_bytes(folder) for folder in (stack.spool, stack.bodies)),
        shared_memory=tuple(sorted(_shared_memory(family))),
    )


def wait_for_footprint(stack: Stack, before: Footprint, within_s: float = 20.0) -> str:
    """Wait until the footprint is as before. Returns the remaining differences, or an empty string."""
    deadline = time.monotonic() + within_s
    while (changed := before.difference(footprint(stack))) and time.monotonic() < deadline:
        time.sleep(0.2)
    return changed


def _session(leader: int) -> list[psutil.Process]:
    """Return all processes of a session. Orphans stay in it."""
    return [process for process in psutil.process_iter() if _session_of(process.pid) == leader]


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _used_bytes(folder: Path) -> int:
    if folder.is_mount():
        return shutil.disk_usage(folder).used
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _short(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        command = process.cmdline()
        return "decoder server" if any("fork_server" in word for word in command) else "service"
    return "exited"


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
    """The metrics, read while no request was open."""

    samples: dict[str, float]
    took_s: float
    """Median of several scrapes."""

    def wrong_values(self, n_restarts: int) -> tuple[str, ...]:
        """Describe the metrics that are wrong for two ready, idle slots after `n_restarts` worker restarts."""
        wanted = {f'asr_slot_ready{{slot="{slot}"}}': 1.0 for slot in SLOTS}
        wanted |= {f'{name}{{slot="{slot}"}}': 0.0 for name in _ZERO_WHEN_IDLE for slot in SLOTS}
        wrong = [
            f"{name} is {self.samples.get(name)}" for name, value in wanted.items() if self.samples.get(name) != value
        ]
        restarts = sum(value for name, value in self.samples.items() if name.startswith("asr_worker_restarts_total"))
        if restarts != n_restarts:
            wrong.append(f"asr_worker_restarts_total is {restarts:.0f}, but {n_restarts} workers were restarted")
        n_rss = sum(name.startswith("asr_worker_rss_bytes") for name in self.samples)
        if n_rss != len(SLOTS):
            wrong.append(f"asr_worker_rss_bytes has {n_rss} series")
        return tuple(wrong)


_ZERO_WHEN_IDLE = ("asr_inflight_requests", "asr_queue_depth", "asr_queue_audio_seconds")


def scrape(stack: Stack) -> Scrape:
    took_s = []
    for _ in range(_N_SCRAPES):
        began = time.monotonic()
        text = stack.get("/metrics").text
        took_s.append(time.monotonic() - began)
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return Scrape({name: float(value) for name, _, value in lines}, median(took_s))
