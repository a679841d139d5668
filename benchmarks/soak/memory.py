"""Compare the peak memory of the service for a file of ten minutes and a file of ten hours.

    python -m benchmarks.soak.memory --audio FOLDER --model base

Each file gets a service of its own. Both files begin with ten minutes of joined speech, so that their largest blocks
are equal. The long one continues with faint noise and a spoken clip every ten minutes. Voice activity detection removes
most of it, which keeps the run short. The proportional set size (PSS), summed over the service's processes, counts
shared pages once.
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil
import soundfile
from numpy.typing import NDArray

from benchmarks.common import arguments
from benchmarks.common.machine import machine
from benchmarks.common.material import RATE, decode, joined, material, recordings
from benchmarks.common.models import model_folder
from benchmarks.common.report import facts, save, table
from benchmarks.common.servers import SERVICE, ServerConfig, exit_on_sigterm, running

MAX_RATIO = 1.3

_SPEECH_S = 600.0
_EVERY_S = 600
_SAMPLE_S = 0.1
_NOISE = 1e-3
_MIB = 1024**2


@dataclass(slots=True)
class Peak:
    """The peak memory of a process and its descendants."""

    pid: int
    pss_bytes: int = 0
    rss_bytes: int = 0
    """Sum of the resident set sizes. Shared pages count once per process."""
    n_samples: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        while not self.ended.wait(_SAMPLE_S):
            pss, rss = tree_memory(self.pid)
            self.pss_bytes, self.rss_bytes = max(self.pss_bytes, pss), max(self.rss_bytes, rss)
            self.n_samples += 1


@dataclass(frozen=True, slots=True)
class Footprint:
    audio_s: float
    wall_s: float
    segments: int
    idle_pss_mib: float
    peak_pss_mib: float
    peak_rss_mib: float


def tree_memory(pid: int) -> tuple[int, int]:
    """Return PSS and RSS in bytes, summed over a process and its descendants."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    sizes = [_rollup(process.pid) for process in processes]
    return sum(pss for pss, _ in sizes), sum(rss for _, rss in sizes)


def _rollup(pid: int) -> tuple[int, int]:
    """Return PSS and RSS of one process in bytes. Both are 0 if it has exited."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0, 0
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
    return kib.get("Pss", 0) * 1024, kib.get("Rss", 0) * 1024


def write_recording(speech: NDArray[np.float32], clip: NDArray[np.float32], seconds: float, path: Path) -> None:
    """Write a FLAC file: the speech, then minutes of faint noise with the clip every ten minutes."""
    noise = np.random.default_rng(1).standard_normal(60 * RATE, dtype=np.float32) * _NOISE
    with soundfile.SoundFile(path, "w", RATE, 1, format="FLAC") as out:
        out.write(speech[: int(seconds * RATE)])
        minutes = max(0, int((seconds - len(speech) / RATE) // 60))
        for minute in range(minutes):
            block = noise.copy()
            if minute % (_EVERY_S // 60) == 0:
                block[: len(clip)] += clip
            out.write(block)


def measure(config: ServerConfig, path: Path) -> Footprint:
    with running(SERVICE, config) as server:
        idle, _ = tree_memory(server.pid)
        began = time.monotonic()
        with _watched(server.pid) as peak:
            audio_s, n_segments = _transcribe(server.url, path)
        wall_s = time.monotonic() - began
    return Footprint(
        audio_s=audio_s,
        wall_s=wall_s,
        segments=n_segments,
        idle_pss_mib=idle / _MIB,
        peak_pss_mib=peak.pss_bytes / _MIB,
        peak_rss_mib=peak.rss_bytes / _MIB,
    )


@contextmanager
def _watched(pid: int) -> Iterator[Peak]:
    peak = Peak(pid)
    thread = threading.Thread(target=peak.watch)
    thread.start()
    try:
        yield peak
    finally:
        peak.ended.set()
        thread.join()


def _transcribe(url: str, path: Path) -> tuple[float, int]:
    """Stream the transcript. Returns the audio's duration in seconds and the number of segments.

    Raises RuntimeError: when the stream ends with an error.
    """
    with path.open("rb") as file, httpx.Client(base_url=url, timeout=600) as client:
        data = {"response_format": "ndjson"}
        with client.stream("POST", "/transcribe", files={"file": (path.name, file)}, data=data) as answer:
            *segments, last = answer.iter_lines()
    closing = json.loads(last)
    if "duration" not in closing:
        raise RuntimeError(f"The stream ended without a transcript. Its last line: {last[:500]}")
    return closing["duration"], len(segments)


def main() -> None:
    exit_on_sigterm()
    args = _arguments()
    with tempfile.TemporaryDirectory(prefix="asr-memory-") as folder:
        config = ServerConfig(model_folder(args.model), args.compute_type, Path(folder))
        found = {name: measure(config, path) for name, path in _recordings(args, Path(folder))}
    short, long = found.values()
    ratio = long.peak_pss_mib / short.peak_pss_mib
    about = {**machine(), "model": f"{args.model}, {args.compute_type}"}
    files = {name: asdict(each) for name, each in found.items()}
    data = {"about": about, "files": files, "ratio": ratio, "max_ratio": MAX_RATIO}
    save(args.out, data, _markdown(about, found, ratio))
    print(_markdown(about, found, ratio))


def _recordings(args: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Path]]:
    clips = material(recordings(args.audio), 1)
    speech_file = joined(clips.joinable, _SPEECH_S, folder / "speech.flac")
    speech, _ = soundfile.read(speech_file.path, dtype="float32")
    clip = decode(clips.clip.path)
    for hours in (_SPEECH_S / 3600, args.hours):
        path = folder / f"{hours:.2f}h.flac"
        write_recording(speech, clip, hours * 3600, path)
        yield f"{hours:.2g} h", path
        path.unlink()


def _markdown(about: dict[str, str], found: dict[str, Footprint], ratio: float) -> str:
    rows = [
        (
            name,
            f"{each.audio_s:.0f}",
            str(each.segments),
            f"{each.wall_s:.0f}",
            f"{each.idle_pss_mib:.0f}",
            f"**{each.peak_pss_mib:.0f}**",
            f"{each.peak_rss_mib:.0f}",
        )
        for name, each in found.items()
    ]
    heads = ("file", "audio, s", "segments", "time, s", "idle PSS, MiB", "peak PSS, MiB", "peak RSS sum, MiB")
    verdict = "met" if ratio <= MAX_RATIO else "missed"
    parts = [
        "# Peak memory by length of the file",
        facts(about),
        table(heads, rows),
        f"Ratio of the peaks (PSS): **{ratio:.2f}**. The target of at most {MAX_RATIO} is {verdict}.",
        _NOTE,
    ]
    return "\n\n".join(parts) + "\n"


_NOTE = """\
All processes of the service count: Gunicorn's master, the worker and the decoders. Both files begin with ten minutes of
joined speech. The long one continues with faint noise and one clip every ten minutes."""


def _arguments() -> argparse.Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--compute-type", default="int8")
    parser.add_argument("--hours", type=float, default=10.0, help="length of the long file")
    arguments.add_out(parser, "memory")
    return parser.parse_args()


if __name__ == "__main__":
    main()
