"""Kill everything twice while a job transcribes an hour of speech.

    python -m benchmarks.jobs.kill --audio FOLDER --model base
    python -m benchmarks.jobs.kill --audio FOLDER --minutes 3 --layout sqlite

The recording is transcribed once without a disturbance, and then once in each layout (`common.cluster`). There, every
process is killed with SIGKILL after a third and after two thirds of the recording: masters, slots, decoders, job
workers and Redis. Then all are started again. The exit code is 1 if an expectation is missed:

- The job succeeds with its third attempt, and its transcript is the one of the undisturbed run. Text may differ without
  a fault where beam search fails and the service samples: look at the times of the segments.
- It continues at the section of its last stored segment.
- Its event arrives with one id and a signature that OpenAI's SDK accepts.
"""

import argparse
import difflib
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import arguments, cluster
from benchmarks.common.cluster import ABOUT, LAYOUTS, SQLITE, Cluster
from benchmarks.common.corpus import Clip
from benchmarks.common.machine import Watch, machine
from benchmarks.common.material import joined, recordings
from benchmarks.common.models import model_folder
from benchmarks.common.report import facts, save, table
from benchmarks.common.servers import exit_on_sigterm

MAX_CPU_RATIO = 1.5
"""The CPU time of a run with kills, divided by that of the undisturbed run, without the starts of programs.

If each attempt began at the start of the recording, it would be 2.
"""

_KILL_AT = (1 / 3, 2 / 3)
_LANGUAGE, _CATEGORIES = "en", {"speech", "telephony", "synthetic-long"}
_POLL_S = 0.5
_SETTLE_S = 15.0
"""How long a second delivery of the event is waited for."""
_SHOWN = 5
_MAX_AGAIN_S = 60.0
"""How much of the recording that was stored may be decoded again."""


@dataclass(frozen=True, slots=True)
class Kill:
    """All processes were killed."""

    n_processes: int
    audio_s_done: float
    """Seconds of the recording up to the last stored segment."""
    down_s: float
    """Time until all programs were ready again."""
    continued_s: float
    """Time from then to the next attempt's first segment."""
    continued_at_s: float
    """The end of that segment in the recording."""


@dataclass(frozen=True, slots=True)
class Run:
    """A job in one layout."""

    layout: str
    job: dict[str, Any]
    kills: tuple[Kill, ...]
    wall_s: float
    cpu_s: float
    """CPU time of all programs in all their lives."""
    start_cpu_s: float
    """The part of it until the programs were ready, in all their lives."""
    others_cores: float
    text: str
    segments: tuple[tuple[float, float, str], ...]
    n_arrivals: int
    webhook_ids: tuple[str, ...]
    n_signed: int

    @property
    def work_cpu_s(self) -> float:
        return self.cpu_s - self.start_cpu_s


def main() -> None:
    exit_on_sigterm()
    args = _arguments()
    model = model_folder(args.model)
    with tempfile.TemporaryDirectory(prefix="asr-kill-") as name:
        folder = Path(name)
        recording = _recording(recordings(args.audio), args.minutes * 60, folder / "recording.flac")
        print(f"{recording.seconds:.0f} s of speech", flush=True)
        runs: list[Run] = []
        for layout, kill_at in ((SQLITE, ()), *((each, _KILL_AT) for each in args.layout or LAYOUTS)):
            runs.append(_run(layout, model, recording, folder / f"run-{len(runs)}", kill_at))
            problems = _save(args, recording, runs)
    sys.exit(bool(problems))


def _save(args: argparse.Namespace, recording: Clip, runs: Sequence[Run]) -> list[str]:
    """Write the report of the undisturbed run and the runs so far. Returns the problems."""
    undisturbed, *killed = runs
    problems = [f"{each.layout}: {problem}" for each in killed for problem in find_problems(undisturbed, each)]
    about = {
        **machine(),
        "model": f"{args.model}, int8",
        "recording": f"{recording.seconds:.0f} s of English speech, {len(undisturbed.text.split())} words, "
        f"{len(undisturbed.segments)} segments",
    }
    text = markdown(about, undisturbed, killed, problems)
    save(args.out, {"about": about, "runs": [_shown(each) for each in runs], "problems": problems}, text)
    print(text, flush=True)
    return problems


def _recording(clips: Sequence[Clip], seconds: float, path: Path) -> Clip:
    """Join English recordings to a FLAC file. When all are used, they follow in another order."""
    english = [clip for clip in clips if clip.language == _LANGUAGE and clip.category in _CATEGORIES]
    chosen: list[Clip] = []
    order = random.Random(14)
    while sum(clip.seconds for clip in chosen) < seconds:
        chosen += order.sample(english, len(english))
    return joined(chosen, seconds, path)


def _run(layout: str, model: Path, recording: Clip, folder: Path, kill_at: Sequence[float]) -> Run:
    folder.mkdir()
    with cluster.running(layout, model, folder) as site:
        starts_s, watch, began = site.cpu_s(), Watch.start(), time.monotonic()
        answer = site.submit(recording.path, language=_LANGUAGE)
        answer.raise_for_status()
        job_id = str(answer.json()["id"])
        kills = []
        for share in kill_at:
            _wait_for_progress(site, job_id, share * recording.seconds)
            kill, cpu_s = _kill(site, job_id)
            kills.append(kill)
            starts_s += cpu_s
            print(f"{layout}: {kill}", flush=True)
        job = _wait_for_end(site, job_id)
        wall_s, cpu_s = time.monotonic() - began, site.cpu_s()
        time.sleep(_SETTLE_S)
        transcript = site.send("GET", f"/jobs/{job_id}/transcript").json()
        job = site.show(job_id) or job
        arrivals = site.receiver.arrivals
        run = Run(
            layout=layout,
            job=job,
            kills=tuple(kills),
            wall_s=wall_s,
            cpu_s=cpu_s,
            start_cpu_s=starts_s,
            others_cores=watch.others_cores(),
            text=transcript.get("text", ""),
            segments=tuple((each["start"], each["end"], each["text"]) for each in transcript.get("segments", ())),
            n_arrivals=len(arrivals),
            webhook_ids=tuple(sorted({each.webhook_id for each in arrivals})),
            n_signed=sum(each.is_signed for each in arrivals),
        )
    print(f"{layout}: {job['status']} after {run.wall_s:.0f} s, {run.cpu_s:.0f} CPU s", flush=True)
    return run


def _wait_for_progress(site: Cluster, job_id: str, audio_s: float) -> None:
    """Wait until segments up to `audio_s` are stored. Raises RuntimeError: the job has ended before."""
    while (job := site.show(job_id)) is None or job["progress"]["audio_s_done"] < audio_s:
        if job is not None and job["status"] not in {"queued", "running"}:
            raise RuntimeError(f"The job is {job['status']} before everything could be killed: {job['error']}.")
        time.sleep(_POLL_S)


def _kill(site: Cluster, job_id: str) -> tuple[Kill, float]:
    """Kill everything, start it again, and wait until the job continues. Returns also the CPU time of the start."""
    n_processes, killed_at, cpu_s = site.kill(), time.monotonic(), site.cpu_s()
    site.start()
    down_s, start_cpu_s = time.monotonic() - killed_at, site.cpu_s() - cpu_s
    before = _shown_job(site, job_id)
    done_s = float(before["progress"]["audio_s_done"])
    while (job := _shown_job(site, job_id))["progress"]["audio_s_done"] == done_s and job["finished_at"] is None:
        time.sleep(_POLL_S)
    continued_s = time.monotonic() - killed_at - down_s
    return Kill(n_processes, done_s, down_s, continued_s, job["progress"]["audio_s_done"]), start_cpu_s


def _shown_job(site: Cluster, job_id: str) -> dict[str, Any]:
    while (job := site.show(job_id)) is None:
        time.sleep(_POLL_S)
    return job


def _wait_for_end(site: Cluster, job_id: str) -> dict[str, Any]:
    while (job := _shown_job(site, job_id))["status"] in {"queued", "running"}:
        time.sleep(_POLL_S)
    return job


def differences(expected: str, found: str) -> list[str]:
    """Return the places where the words differ."""
    wanted, words = expected.split(), found.split()
    matcher = difflib.SequenceMatcher(None, wanted, words, autojunk=False)
    return [
        f"{' '.join(wanted[i:j])!r} became {' '.join(words[k:m])!r}"
        for tag, i, j, k, m in matcher.get_opcodes()
        if tag != "equal"
    ]


def find_problems(undisturbed: Run, run: Run) -> list[str]:
    """Return the expectations that a run with kills has missed."""
    if run.job["status"] != "succeeded":
        return [f"the job is {run.job['status']}: {run.job['error']}"]
    found = []
    if run.job["attempts"] != len(run.kills) + 1:
        found.append(f"{run.job['attempts']} attempts after {len(run.kills)} kills")
    if changed := differences(undisturbed.text, run.text):
        found.append(f"{len(changed)} places of the text differ, such as {'; '.join(changed[:_SHOWN])}")
    elif run.segments != undisturbed.segments:
        found.append("the times or the borders of segments differ")
    found += [
        f"it continued at {each.continued_at_s:.0f} s, although {each.audio_s_done:.0f} s were stored"
        for each in run.kills
        if each.continued_at_s < each.audio_s_done - _MAX_AGAIN_S
    ]
    if (ratio := run.work_cpu_s / undisturbed.work_cpu_s) > MAX_CPU_RATIO:
        found.append(f"it cost {ratio:.2f} times the CPU time")
    if len(run.webhook_ids) != 1 or run.n_signed != run.n_arrivals:
        found.append(f"{run.n_arrivals} events with {len(run.webhook_ids)} ids, of which {run.n_signed} were signed")
    return found


def _shown(run: Run) -> dict[str, Any]:
    return asdict(run) | {"text": None, "segments": len(run.segments), "n_words": len(run.text.split())}


_HEADS = (
    "layout",
    "attempts",
    "killed at, s of the recording",
    "processes killed",
    "ready again, s",
    "continued after another, s",
    "time, s",
    "CPU, s",
    "CPU without starts, ratio",
    "words",
    "equal transcript",
    "events: requests, ids, signed",
    "others' cores",
)


def markdown(about: dict[str, str], undisturbed: Run, runs: Sequence[Run], problems: Sequence[str]) -> str:
    rows = [_row(undisturbed, each) for each in (undisturbed, *runs)]
    rows[0] = ("undisturbed", *rows[0][1:])
    conclusion = "; ".join(problems) or "All expectations are met"
    notes = "\n".join(f"- `{layout}`: {text}" for layout, text in ABOUT.items())
    limit = f"The CPU time without the starts of programs may be at most {MAX_CPU_RATIO} times the undisturbed run's."
    parts = ["# Everything is killed twice during a job", facts(about), notes, table(_HEADS, rows), limit]
    return "\n\n".join([*parts, f"{conclusion}."]) + "\n"


def _row(undisturbed: Run, run: Run) -> tuple[str, ...]:
    def joined_of(values: Sequence[float]) -> str:
        return ", ".join(f"{each:.0f}" for each in values) or "-"

    kills = run.kills
    return (
        run.layout,
        str(run.job["attempts"]),
        joined_of([each.audio_s_done for each in kills]),
        joined_of([each.n_processes for each in kills]),
        joined_of([each.down_s for each in kills]),
        joined_of([each.continued_s for each in kills]),
        f"{run.wall_s:.0f}",
        f"{run.cpu_s:.0f}",
        f"{run.work_cpu_s / undisturbed.work_cpu_s:.3f}",
        str(len(run.text.split())),
        "yes" if run.segments == undisturbed.segments else "**no**",
        f"{run.n_arrivals}, {len(run.webhook_ids)}, {run.n_signed}",
        f"{run.others_cores:.1f}",
    )


def _arguments() -> argparse.Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="length of the recording")
    parser.add_argument("--layout", action="append", choices=LAYOUTS, help="what is killed (default: all in turn)")
    arguments.add_out(parser, "jobs-killed")
    return parser.parse_args()


if __name__ == "__main__":
    main()
