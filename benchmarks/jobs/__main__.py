"""Measure what jobs cost, compared with the same recordings through /transcribe.

    python -m benchmarks.jobs --audio FOLDER --model base

Each round sends the same clips to one service twice, as requests and as jobs, in alternating order. Jobs are submitted
16 at a time, and the time ends with the last of them. A pause before each batch lets the slot notice that no client
is left (`engine.schedule.scheduler.CLIENT_GAP_S`). Then a clip is sent alone, and while a thousand jobs wait. The
jobs are run by the slot, and by a job worker with a Redis (`--runner`). The exit code is 1 if a target is missed.
"""

import argparse
import asyncio
import itertools
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from asr_service.engine.schedule.scheduler import CLIENT_GAP_S
from benchmarks.common import arguments
from benchmarks.common.corpus import Clip
from benchmarks.common.machine import machine, wait_for_quiet
from benchmarks.common.material import Material, material, recordings
from benchmarks.common.models import model_folder
from benchmarks.common.report import facts, save, table
from benchmarks.common.servers import exit_on_sigterm
from benchmarks.jobs.installation import RUNNERS, Installation, installed
from benchmarks.jobs.measure import Batch, cancel_all, jobs, latency, requests, submit

MAX_TIME_RATIO = 1.03
"""The whole time of all jobs, divided by that of the same requests."""
MAX_P95_RATIO = 1.2
"""The p95 of a clip while jobs wait, divided by its p95 alone."""

_PATIENCE_S = 3.0


@dataclass(frozen=True, slots=True)
class Round:
    requests: Batch
    jobs: Batch


@dataclass(frozen=True, slots=True)
class Latency:
    """Latencies of a clip in seconds."""

    alone_p50: float
    alone_p95: float
    busy_p50: float
    busy_p95: float
    n_waiting: int
    """Jobs that still waited at the end."""

    @property
    def ratio(self) -> float:
        return self.busy_p95 / self.alone_p95


@dataclass(frozen=True, slots=True)
class Measured:
    runner: str
    n_clips: int
    rounds: tuple[Round, ...]
    latency: Latency

    @property
    def time_ratio(self) -> float:
        return statistics.median(each.jobs.wall_s / each.requests.wall_s for each in self.rounds)

    @property
    def cpu_ratio(self) -> float:
        return statistics.median(each.jobs.cpu_s / each.requests.cpu_s for each in self.rounds)

    @property
    def jobs_per_min(self) -> float:
        return 60 * self.n_clips / statistics.median(each.jobs.wall_s for each in self.rounds)

    def problems(self) -> list[str]:
        found = {"time": (self.time_ratio, MAX_TIME_RATIO), "p95": (self.latency.ratio, MAX_P95_RATIO)}
        return [
            f"{self.runner}: the ratio of {name} is {ratio:.3f}, and the target is at most {most}"
            for name, (ratio, most) in found.items()
            if ratio > most
        ]


def main() -> None:
    exit_on_sigterm()
    args = _arguments()
    model, clips = model_folder(args.model), material(recordings(args.audio), args.clips)
    measured = []
    for runner in args.runner or RUNNERS:
        with (
            tempfile.TemporaryDirectory(prefix="asr-jobs-") as folder,
            installed(runner, model, Path(folder)) as installation,
        ):
            measured.append(asyncio.run(_measure(runner, installation, clips, args)))
    about = {**machine(), "model": f"{args.model}, int8", "clips": f"{args.clips} in each batch"}
    problems = [problem for each in measured for problem in each.problems()]
    text = markdown(about, measured, problems)
    save(args.out, {"about": about, "measured": [asdict(each) for each in measured], "problems": problems}, text)
    print(text)
    sys.exit(bool(problems))


async def _measure(runner: str, installation: Installation, clips: Material, args: argparse.Namespace) -> Measured:
    await requests(installation, clips.mixed[:4])  # the first requests of a process are slower
    rounds = [await _round(installation, clips.mixed, jobs_first=number % 2 == 1) for number in range(args.rounds)]
    waiting = list(itertools.islice(itertools.cycle(clips.mixed), args.waiting))
    alone = await latency(installation, clips.clip, args.repeats, args.pause_s)
    async with httpx.AsyncClient(base_url=installation.url, timeout=120) as client:
        await submit(client, waiting)
        busy = await latency(installation, clips.clip, args.repeats, args.pause_s)
    n_waiting = await cancel_all(installation)
    seconds = Latency(alone.latency_s(50), alone.latency_s(95), busy.latency_s(50), busy.latency_s(95), n_waiting)
    return Measured(runner, len(clips.mixed), tuple(rounds), seconds)


async def _round(installation: Installation, clips: Sequence[Clip], *, jobs_first: bool) -> Round:
    found = {}
    for send in (jobs, requests) if jobs_first else (requests, jobs):
        await asyncio.sleep(CLIENT_GAP_S + 1)
        wait_for_quiet(_PATIENCE_S)
        found[send] = await send(installation, clips)
    return Round(found[requests], found[jobs])


def markdown(about: dict[str, str], measured: Sequence[Measured], problems: Sequence[str]) -> str:
    rows = [
        (
            each.runner,
            str(number),
            f"{one.requests.wall_s:.1f}",
            f"{one.jobs.wall_s:.1f}",
            f"{one.jobs.wall_s / one.requests.wall_s:.3f}",
            f"{one.requests.cpu_s:.1f}",
            f"{one.jobs.cpu_s:.1f}",
            f"{one.jobs.cpu_s / one.requests.cpu_s:.3f}",
            f"{max(one.requests.others_cores, one.jobs.others_cores):.2f}",
        )
        for each in measured
        for number, one in enumerate(each.rounds, start=1)
    ]
    heads = (
        "run by",
        "round",
        "requests, s",
        "jobs, s",
        "ratio",
        "requests, CPU s",
        "jobs, CPU s",
        "ratio",
        "others' cores",
    )
    whole = [
        (each.runner, f"{each.jobs_per_min:.0f}", f"**{each.time_ratio:.3f}**", f"{each.cpu_ratio:.3f}")
        for each in measured
    ]
    waits = [
        (
            each.runner,
            str(each.latency.n_waiting),
            f"{each.latency.alone_p50:.2f}, {each.latency.alone_p95:.2f}",
            f"{each.latency.busy_p50:.2f}, {each.latency.busy_p95:.2f}",
            f"**{each.latency.ratio:.2f}**",
        )
        for each in measured
    ]
    parts = [
        "# Jobs, compared with requests",
        facts(about),
        table(("run by", "jobs per minute", "time, jobs / requests", "CPU time, jobs / requests"), whole),
        f"Medians of the rounds. The target for the time is at most {MAX_TIME_RATIO}.",
        table(heads, rows),
        "## One clip while jobs wait",
        table(("run by", "jobs left", "alone: p50, p95 in s", "with jobs: p50, p95 in s", "ratio of p95"), waits),
        f"The target is at most {MAX_P95_RATIO}. " + ("; ".join(problems) or "All targets are met") + ".",
    ]
    return "\n\n".join(parts) + "\n"


def _arguments() -> argparse.Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--runner", action="append", choices=RUNNERS, help="what runs the jobs (default: both in turn)")
    parser.add_argument("--clips", type=int, default=60, help="clips in each batch")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--waiting", type=int, default=1000, help="jobs that wait while a clip is sent")
    parser.add_argument("--repeats", type=int, default=40, help="how often the clip is sent")
    parser.add_argument("--pause-s", type=float, default=1.0, help="pause between two of these")
    arguments.add_out(parser, "jobs")
    return parser.parse_args()


if __name__ == "__main__":
    main()
