"""The faults: how each is injected, and which effects are allowed."""

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from threading import Event

import psutil

from benchmarks.chaos.processes import Step, footprint, reached, scrape, wait_for_footprint
from benchmarks.chaos.report import LOST, Injection, WorkerExit
from benchmarks.common.sender import BROKEN_OFF, CLOSED, GOOD, Load, Outcome, Sender
from benchmarks.common.stack import SLOTS, Stack, decoder_server, until

NOT_READY, OVERLOADED, UNAVAILABLE = "503 not_ready", "503 overloaded", "503 unavailable"
MAX_SCRAPE_S = 0.2

_OVERLOAD_S = 10.0
_LONGEST_STOP_S = 60.0
_DISCONNECT_AFTER_S = 1.0
_GIVEN_UP_WITHIN_S = 10.0
_GAUGES_S = 6.0
"""The slots refresh their queue gauges every 2 s."""


class NotPossible(Exception):
    """The fault cannot be injected on this machine. The message gives the reason."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What an injection can use. The recordings differ in size, which identifies a request (`chaos.processes`)."""

    stack: Stack
    load: Load
    sender: Sender
    pool: ThreadPoolExecutor
    clip: Path
    minute: Path
    """About a minute of speech: a few windows, decoded to samples quickly."""
    long: Path
    """Some minutes of speech. Its transcription takes longer than the worker time-out."""
    large: Path
    """Many megabytes."""
    capacity_per_s: float
    n_kills: int

    def send(self, path: Path) -> "Future[Outcome]":
        return self.pool.submit(self.sender.post, path)


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    inject: Callable[[Scene], Injection]
    """Injects the fault, waits for the responses to its own requests, and checks them.

    Raises NotPossible. Raises TimeoutError: when an expected event does not happen.
    """
    allowed: frozenset[str] = frozenset()
    """Kinds of responses that the load may get, in addition to those that are always allowed (`report.check`)."""
    in_smoke: bool = False


def killed_idle(scene: Scene) -> Injection:
    with scene.load.paused():
        began = time.time()
        exited = _kill(scene.stack, 0)
    note = f"the process ended {(exited.at_s - began) * 1000:.0f} ms after the signal"
    return Injection(_recovered(scene.stack, exited), note=note)


def killed_at(step: Step, scene: Scene) -> Injection:
    path = scene.large if step == "receiving" else scene.minute
    sent = scene.send(path)
    location = reached(scene.stack, step, path.stat().st_size)
    exited = _kill(scene.stack, location.slot)
    return _one(sent.result(), LOST, _recovered(scene.stack, exited))


def killed_during_stream(scene: Scene) -> Injection:
    begun = Event()
    sent = scene.pool.submit(scene.sender.stream, scene.minute, begun.set)
    location = reached(scene.stack, "inferring", scene.minute.stat().st_size)
    if not begun.wait(_LONGEST_STOP_S):
        raise TimeoutError("The stream had no line.")
    exited = _kill(scene.stack, location.slot)
    return _one(sent.result(), BROKEN_OFF, _recovered(scene.stack, exited))


def failed_restart(scene: Scene) -> Injection:
    """Remove the model's files, so that the next workers do not start, and restore them after two attempts."""
    stack, away = scene.stack, scene.stack.model.with_name("away")
    stack.model.rename(away)
    try:
        exited = _kill(stack, 1)
        until(lambda: len(stack.lines("worker ended", 1, exited.at_s)) > 2, 60, "Two failed starts")
    finally:
        away.rename(stack.model)
    exits = _recovered(stack, replace(exited, loadable_s=time.time()))
    return Injection(exits, note="recovery counts from the model's return, after two failed starts")


def stopped(scene: Scene) -> Injection:
    """Stop a worker with SIGSTOP. The master kills it when its heartbeat has been missing for 30 s."""
    stack = scene.stack
    sent = scene.send(scene.minute)
    location = reached(stack, "inferring", scene.minute.stat().st_size)
    began = time.time()
    os.kill(location.worker, signal.SIGSTOP)
    (line,) = until(
        lambda: stack.lines("worker ended", location.slot, began), _LONGEST_STOP_S, "The exit of a stopped worker"
    )
    exits = _recovered(stack, WorkerExit(location.slot, line.at_s))
    note = f"the master killed it after {line.at_s - began:.0f} s"
    return _one(sent.result(), LOST, exits, note)


def worker_sigterm(scene: Scene) -> Injection:
    """Send SIGTERM to a worker during a request that takes longer than the worker time-out."""
    sent = scene.send(scene.long)
    location = reached(scene.stack, "decoding", scene.long.stat().st_size)
    began = time.time()
    os.kill(location.worker, signal.SIGTERM)
    outcome = sent.result()
    (line,) = until(lambda: scene.stack.lines("worker ended", location.slot, began), 60, "The worker's exit")
    exits = _recovered(scene.stack, WorkerExit(location.slot, line.at_s))
    return _one(outcome, GOOD, exits, f"drained for {line.at_s - began:.0f} s")


def master_sigterm(scene: Scene) -> Injection:
    """Send SIGTERM to the master and start the service again. It is ready when the first of both slots is."""
    stack = scene.stack
    sent = scene.send(scene.minute)
    reached(stack, "inferring", scene.minute.stat().st_size)
    began = time.time()
    os.kill(stack.service.pid, signal.SIGTERM)
    code = stack.service.wait(_LONGEST_STOP_S)
    ended_s = time.time()
    left = [path.name for path in stack.run_dir.glob("slot-*")] + [f"exit code {code}"] * bool(code)
    stack.restart_service()
    exits = _recovered(stack, *(WorkerExit(slot, ended_s) for slot in SLOTS))
    first, second = sorted(exits, key=lambda exited: exited.recovery_s)
    note = f"drained for {ended_s - began:.0f} s, then started again; second slot ready after {second.recovery_s:.1f} s"
    injection = _one(sent.result(), GOOD, (first,), note)
    return replace(injection, problems=(*injection.problems, *(f"left behind: {each}" for each in left)))


def decoder_killed(scene: Scene) -> Injection:
    """Kill the child that decodes a recording. Its request fails with 503, because the recording is not at fault."""
    sent = scene.send(scene.long)
    location = reached(scene.stack, "decoding", scene.long.stat().st_size)
    os.kill(location.decoder or 0, signal.SIGKILL)
    return _one(sent.result(), UNAVAILABLE)


def decoder_server_killed(scene: Scene) -> Injection:
    """Kill the fork server of the decoders. The next one decodes the recording again."""
    sent = scene.send(scene.minute)
    location = reached(scene.stack, "decoding", scene.minute.stat().st_size)
    os.kill(decoder_server(location.worker), signal.SIGKILL)
    return _one(sent.result(), GOOD)


def disk_full(scene: Scene, *, nginx: bool) -> Injection:
    """Fill the disk on which the slots (or Nginx) keep uploads, then free it."""
    with _full(scene.stack.bodies if nginx else scene.stack.spool):
        during = scene.send(scene.minute).result()
    after = scene.send(scene.minute).result()
    return Injection(own=(during, after), problems=(*_unless(during, UNAVAILABLE), *_unless(after, GOOD)))


def disconnected_while_queued(scene: Scene) -> Injection:
    """Send more recordings than the model can start, and disconnect all their clients."""
    pause = partial(time.sleep, _DISCONNECT_AFTER_S)
    clients = [scene.pool.submit(scene.sender.disconnect, scene.minute, pause) for _ in range(6)]
    outcomes = tuple(each.result() for each in clients)
    return Injection(own=outcomes, problems=_not_dropped(scene.stack, outcomes))


def disconnected_during_inference(scene: Scene) -> Injection:
    at_work = partial(reached, scene.stack, "inferring", scene.minute.stat().st_size)
    outcome = scene.sender.disconnect(scene.minute, at_work)
    return Injection(own=(outcome,), problems=_not_dropped(scene.stack, (outcome,)))


def slow_upload(scene: Scene) -> Injection:
    """Send one upload slowly and one that stops. Neither may occupy a slot, and the second must be given up."""
    slow = scene.pool.submit(scene.sender.send_slowly, scene.clip, 10, 0.5)
    stalled = scene.pool.submit(scene.sender.send_slowly, scene.clip, 10, 0.05, 5)
    outcomes = slow.result(), stalled.result()
    problems = [*_unless(outcomes[0], GOOD), *_unless(outcomes[1], CLOSED)]
    (line,) = until(lambda: scene.stack.nginx_log().get(outcomes[0].request_id), what="A line in Nginx's log")
    in_nginx_s = float(line["seconds"]) - float(line["upstream_s"] or 0)
    if in_nginx_s < 4:
        problems.append(f"a slot was occupied for all but {in_nginx_s:.1f} s of a slow upload")
    note = f"the stalled upload was given up after {outcomes[1].duration_s:.0f} s"
    return Injection(own=outcomes, problems=tuple(problems), note=note)


def twice_the_capacity(scene: Scene) -> Injection:
    """Send an open loop at twice the capacity."""
    gaps, sent = Random(1), []
    end = time.monotonic() + _OVERLOAD_S
    with ThreadPoolExecutor(256) as pool:
        while time.monotonic() < end:
            sent.append(pool.submit(scene.sender.post, scene.clip))
            time.sleep(gaps.expovariate(2 * scene.capacity_per_s))
        own = tuple(each.result() for each in sent)
    problems = tuple(problem for each in own for problem in _unless(each, GOOD, OVERLOADED))
    return Injection(
        own=own,
        problems=problems,
        note=f"{2 * scene.capacity_per_s:.1f} requests/s for {_OVERLOAD_S:.0f} s in addition to the load",
    )


def killed_repeatedly(scene: Scene) -> Injection:
    """Kill workers in turn, each when both are ready. Then test for leaked resources and wrong metrics."""
    stack = scene.stack
    with scene.load.paused():
        before, restarts = footprint(stack), _n_restarts(stack)
    exits: list[WorkerExit] = []
    for n in range(scene.n_kills):
        exits += _recovered(stack, _kill(stack, SLOTS[n % len(SLOTS)]))
    with scene.load.paused():
        left = wait_for_footprint(stack, before)
        found = scrape(stack)
        wrong = _wrong_gauges(stack, restarts + scene.n_kills)
    problems = [f"left behind: {left}"] * bool(left) + list(wrong)
    if found.took_s > MAX_SCRAPE_S:
        problems.append(f"a scrape took {found.took_s * 1000:.0f} ms")
    median_s = median(exited.recovery_s for exited in exits)
    note = f"{scene.n_kills} kills, median time to ready {median_s:.1f} s; "
    note += f"a scrape takes {found.took_s * 1000:.0f} ms; master {_rss_mib(stack):.0f} MiB"
    return Injection(tuple(exits), problems=tuple(problems), note=note)


def _one(outcome: Outcome, wanted: str, exits: tuple[WorkerExit, ...] = (), note: str = "") -> Injection:
    """Create the result of an injection that sent one request and expected the outcome `wanted`."""
    return Injection(exits, (outcome,), _unless(outcome, wanted), note)


def _unless(outcome: Outcome, *wanted: str) -> tuple[str, ...]:
    """Return a problem if the outcome is not one of `wanted`, or is a 503 without Retry-After."""
    if outcome.kind not in wanted:
        return (f"{outcome.kind} instead of {wanted[-1]}",)
    if outcome.kind.startswith("503") and not outcome.retry_after:
        return (f"{outcome.kind} without Retry-After",)
    return ()


def _kill(stack: Stack, slot: int) -> WorkerExit:
    """Kill a worker and wait until its process has ended.

    The socket of a large process accepts connections until the kernel has ended its last thread. Requests sent until
    then count as inside the killed worker.
    """
    worker = os.pidfd_open(stack.worker(slot))
    try:
        signal.pidfd_send_signal(worker, signal.SIGKILL)
        if not select.select([worker], [], [], _LONGEST_STOP_S)[0]:
            raise TimeoutError("The killed worker did not end.")
        return WorkerExit(slot, time.time())
    finally:
        os.close(worker)


def _recovered(stack: Stack, *exits: WorkerExit) -> tuple[WorkerExit, ...]:
    """Wait until each slot is ready again. Raises TimeoutError: when one is not."""
    return tuple(replace(exited, ready_s=stack.became_ready_s(exited.slot, exited.at_s)) for exited in exits)


def _not_dropped(stack: Stack, outcomes: tuple[Outcome, ...]) -> tuple[str, ...]:
    """Return a problem if a request was not given up within 10 s after its client had disconnected."""
    names = {each.request_id for each in outcomes}

    def given_up() -> set[str]:
        return {line.fields["request_id"] for line in stack.lines("request") if line.fields["status"] == 499} & names

    try:
        until(lambda: given_up() == names, _GIVEN_UP_WITHIN_S)
    except TimeoutError:
        return (f"{len(names - given_up())} of {len(names)} were not given up",)
    done = {line.fields["request_id"] for line in stack.lines("transcribed")} & names
    return (f"{len(done)} were transcribed although their clients had disconnected",) if done else ()


@contextmanager
def _full(disk: Path) -> Iterator[None]:
    """Fill the disk for the duration of the block.

    Raises NotPossible: when the folder is not a file system of its own.
    """
    if not disk.is_mount():
        raise NotPossible("needs root, to mount a small file system")
    filler = disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(1024**2))
        yield
    finally:
        filler.unlink()


def _n_restarts(stack: Stack) -> int:
    return int(sum(n for name, n in scrape(stack).samples.items() if name.startswith("asr_worker_restarts_total")))


def _wrong_gauges(stack: Stack, n_restarts: int) -> tuple[str, ...]:
    """Describe the metrics that are still wrong after the time in which they are refreshed."""
    with suppress(TimeoutError):
        until(lambda: not scrape(stack).wrong_values(n_restarts), _GAUGES_S, every_s=0.2)
    return scrape(stack).wrong_values(n_restarts)


def _rss_mib(stack: Stack) -> float:
    return float(psutil.Process(stack.service.pid).memory_info().rss / 1024**2)


FAULTS = (
    Fault("kill -9 of an idle worker", killed_idle, in_smoke=True),
    Fault("kill -9 while receiving", partial(killed_at, "receiving")),
    Fault("kill -9 while decoding", partial(killed_at, "decoding")),
    Fault("kill -9 while inferring", partial(killed_at, "inferring"), in_smoke=True),
    Fault("kill -9 during a stream", killed_during_stream),
    Fault("failed restart", failed_restart),
    Fault("SIGSTOP of a worker", stopped),
    Fault("SIGTERM to a worker during a request", worker_sigterm, in_smoke=True),
    Fault("SIGTERM to the master during a request", master_sigterm, frozenset({NOT_READY})),
    Fault("kill -9 of a decoder's child", decoder_killed, in_smoke=True),
    Fault("kill -9 of a decoder's fork server", decoder_server_killed),
    Fault("full disk for the slots' uploads", partial(disk_full, nginx=False), frozenset({UNAVAILABLE}), in_smoke=True),
    Fault("full disk for Nginx's uploads", partial(disk_full, nginx=True), frozenset({UNAVAILABLE})),
    Fault("clients disconnect while queued", disconnected_while_queued),
    Fault("client disconnects during inference", disconnected_during_inference),
    Fault("slow and stalled uploads", slow_upload),
    Fault("twice the capacity", twice_the_capacity, frozenset({OVERLOADED})),
    Fault("repeated kill -9", killed_repeatedly, in_smoke=True),
)
