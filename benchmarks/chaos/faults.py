"""The faults: how each is made, and what it may cost."""

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

from benchmarks.chaos.processes import Step, decoder_server, footprint, reached, scrape, wait_for_footprint
from benchmarks.chaos.report import LOST, Blow, Death
from benchmarks.common.sender import BROKEN_OFF, CLOSED, GOOD, Load, Outcome, Sender
from benchmarks.common.stack import SLOTS, Stack, until

NOT_READY, OVERLOADED, NO_ROOM = "503 not_ready", "503 overloaded", "503 unavailable"
UNDECODABLE = "422 undecodable_audio"
SCRAPE_BAR_S = 0.2

_OVERLOAD_S = 10.0
_LONGEST_STOP_S = 60.0
_AT_ONCE_S = 1.0
_NOTICED_S = 10.0
_GAUGES_S = 6.0
"""The slots renew what they show of their queues every 2 s."""


class Skip(Exception):
    """The fault cannot be made here. The message says why."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What an injection has at hand. The recordings differ in their bytes, by which a request is found."""

    stack: Stack
    load: Load
    sender: Sender
    pool: ThreadPoolExecutor
    clip: Path
    minute: Path
    """About a minute of speech: a few windows, decoded at once."""
    long: Path
    """Some minutes of speech, which are with the model for longer than a worker may be silent."""
    large: Path
    """Many megabytes."""
    capacity_per_s: float
    n_kills: int

    def send(self, path: Path) -> "Future[Outcome]":
        return self.pool.submit(self.sender.post, path)


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    inject: Callable[[Scene], Blow]
    """Returns when its own requests are answered, which it judges itself.

    Raises Skip. TimeoutError: something promised did not come about.
    """
    allowed: frozenset[str] = frozenset()
    """Kinds of answers that the load's requests may get, beside the good ones and those inside a killed worker."""
    in_smoke: bool = False


def killed_idle(scene: Scene) -> Blow:
    with scene.load.silence():
        began = time.time()
        death = _kill(scene.stack, 0)
    note = f"the kernel took {(death.at_s - began) * 1000:.0f} ms to end it"
    return Blow(_survived(scene.stack, death), note=note)


def killed_at(step: Step, scene: Scene) -> Blow:
    path = scene.large if step == "receiving" else scene.minute
    sent = scene.send(path)
    place = reached(scene.stack, step, path.stat().st_size)
    death = _kill(scene.stack, place.slot)
    return _one(sent.result(), LOST, _survived(scene.stack, death))


def killed_under_a_stream(scene: Scene) -> Blow:
    begun = Event()
    sent = scene.pool.submit(scene.sender.stream, scene.minute, begun.set)
    place = reached(scene.stack, "inferring", scene.minute.stat().st_size)
    if not begun.wait(_LONGEST_STOP_S):
        raise TimeoutError("no line of a stream")
    death = _kill(scene.stack, place.slot)
    return _one(sent.result(), BROKEN_OFF, _survived(scene.stack, death))


def failed_respawn(scene: Scene) -> Blow:
    """The model is gone when the worker's successors look for it."""
    stack, away = scene.stack, scene.stack.model.with_name("away")
    stack.model.rename(away)
    try:
        death = _kill(stack, 1)
        until(lambda: len(stack.lines("worker ended", 1, death.at_s)) > 2, 60, "two failed tries")
    finally:
        away.rename(stack.model)
    deaths = _survived(stack, replace(death, loadable_s=time.time()))
    return Blow(deaths, note="ready again: from the model's return, after two failed tries")


def stopped(scene: Scene) -> Blow:
    """SIGSTOP: the master ends a worker that has been silent for 30 s."""
    stack = scene.stack
    sent = scene.send(scene.minute)
    place = reached(stack, "inferring", scene.minute.stat().st_size)
    began = time.time()
    os.kill(place.worker, signal.SIGSTOP)
    (line,) = until(
        lambda: stack.lines("worker ended", place.slot, began), _LONGEST_STOP_S, "the end of a stopped worker"
    )
    deaths = _survived(stack, Death(place.slot, line.at_s))
    note = f"stood still for {line.at_s - began:.0f} s before the master ended it"
    return _one(sent.result(), LOST, deaths, note)


def worker_told_to_end(scene: Scene) -> Blow:
    """SIGTERM in the middle of a request that lasts longer than a worker may be silent."""
    sent = scene.send(scene.long)
    place = reached(scene.stack, "decoding", scene.long.stat().st_size)
    began = time.time()
    os.kill(place.worker, signal.SIGTERM)
    outcome = sent.result()
    (line,) = until(lambda: scene.stack.lines("worker ended", place.slot, began), 60, "the worker's end")
    deaths = _survived(scene.stack, Death(place.slot, line.at_s))
    return _one(outcome, GOOD, deaths, f"drained for {line.at_s - began:.0f} s")


def master_told_to_end(scene: Scene) -> Blow:
    """Both slots load at once then; the service is ready again with the first of them."""
    stack = scene.stack
    sent = scene.send(scene.minute)
    reached(stack, "inferring", scene.minute.stat().st_size)
    began = time.time()
    os.kill(stack.service.pid, signal.SIGTERM)
    code = stack.service.wait(_LONGEST_STOP_S)
    ended_s = time.time()
    left = [path.name for path in stack.run_dir.glob("slot-*")] + [f"exit code {code}"] * bool(code)
    stack.restart_service()
    deaths = _survived(stack, *(Death(slot, ended_s) for slot in SLOTS))
    first, second = sorted(deaths, key=lambda death: death.recovery_s)
    note = f"drained for {ended_s - began:.0f} s, then started again; the second slot after {second.recovery_s:.1f} s"
    blow = _one(sent.result(), GOOD, (first,), note)
    return replace(blow, problems=(*blow.problems, *(f"left behind: {each}" for each in left)))


def decoder_killed(scene: Scene) -> Blow:
    """Its recording is told to be undecodable, once the model has done what was decoded."""
    sent = scene.send(scene.long)
    place = reached(scene.stack, "decoding", scene.long.stat().st_size)
    os.kill(place.decoder or 0, signal.SIGKILL)
    return _one(sent.result(), UNDECODABLE)


def decoder_server_killed(scene: Scene) -> Blow:
    """What it was decoding is decoded by the next one."""
    sent = scene.send(scene.minute)
    place = reached(scene.stack, "decoding", scene.minute.stat().st_size)
    os.kill(decoder_server(place.worker), signal.SIGKILL)
    return _one(sent.result(), GOOD)


def disk_full(scene: Scene, *, nginx: bool) -> Blow:
    """No byte more fits where the slots (or Nginx) keep uploads; then it does again."""
    with _full(scene.stack.bodies if nginx else scene.stack.spool):
        during = scene.send(scene.minute).result()
    after = scene.send(scene.minute).result()
    return Blow(own=(during, after), problems=(*_unless(during, NO_ROOM), *_unless(after, GOOD)))


def gone_while_queued(scene: Scene) -> Blow:
    """More recordings than the model can take up, whose clients all leave."""
    pause = partial(time.sleep, _AT_ONCE_S)
    leaving = [scene.pool.submit(scene.sender.leave, scene.minute, pause) for _ in range(6)]
    outcomes = tuple(each.result() for each in leaving)
    return Blow(own=outcomes, problems=_not_dropped(scene.stack, outcomes))


def gone_while_inferring(scene: Scene) -> Blow:
    at_work = partial(reached, scene.stack, "inferring", scene.minute.stat().st_size)
    outcome = scene.sender.leave(scene.minute, at_work)
    return Blow(own=(outcome,), problems=_not_dropped(scene.stack, (outcome,)))


def slow_upload(scene: Scene) -> Blow:
    """One that comes in drips is taken and never holds a slot; one that stops is given up."""
    slow = scene.pool.submit(scene.sender.drip, scene.clip, 10, 0.5)
    stalled = scene.pool.submit(scene.sender.drip, scene.clip, 10, 0.05, 5)
    outcomes = slow.result(), stalled.result()
    problems = [*_unless(outcomes[0], GOOD), *_unless(outcomes[1], CLOSED)]
    (passed,) = until(lambda: scene.stack.passed_on().get(outcomes[0].request_id), what="Nginx' line")
    in_nginx_s = float(passed["seconds"]) - float(passed["upstream_s"] or 0)
    if in_nginx_s < 4:
        problems.append(f"a slot was held for all but {in_nginx_s:.1f} s of a slow upload")
    note = f"the stalled one was given up after {outcomes[1].lasted_s:.0f} s"
    return Blow(own=outcomes, problems=tuple(problems), note=note)


def twice_the_capacity(scene: Scene) -> Blow:
    """An open loop: so many come, whatever becomes of them."""
    gaps, sent = Random(1), []
    end = time.monotonic() + _OVERLOAD_S
    with ThreadPoolExecutor(256) as pool:
        while time.monotonic() < end:
            sent.append(pool.submit(scene.sender.post, scene.clip))
            time.sleep(gaps.expovariate(2 * scene.capacity_per_s))
        own = tuple(each.result() for each in sent)
    problems = tuple(problem for each in own for problem in _unless(each, GOOD, OVERLOADED))
    return Blow(
        own=own,
        problems=problems,
        note=f"{2 * scene.capacity_per_s:.1f} requests/s for {_OVERLOAD_S:.0f} s beside the load",
    )


def killed_again_and_again(scene: Scene) -> Blow:
    """One worker after the other, each once both are ready. Then nothing may be left behind, and the gauges right."""
    stack = scene.stack
    with scene.load.silence():
        before, restarts = footprint(stack), _n_restarts(stack)
    deaths: list[Death] = []
    for n in range(scene.n_kills):
        deaths += _survived(stack, _kill(stack, SLOTS[n % len(SLOTS)]))
    with scene.load.silence():
        left = wait_for_footprint(stack, before)
        found = scrape(stack)
        wrong = _wrong_gauges(stack, restarts + scene.n_kills)
    problems = [f"left behind: {left}"] * bool(left) + list(wrong)
    if found.took_s > SCRAPE_BAR_S:
        problems.append(f"a scrape took {found.took_s * 1000:.0f} ms")
    middle_s = median(death.recovery_s for death in deaths)
    note = f"{scene.n_kills} kills, ready again after {middle_s:.1f} s in the median; "
    note += f"a scrape takes {found.took_s * 1000:.0f} ms; master {_rss_mib(stack):.0f} MiB"
    return Blow(tuple(deaths), problems=tuple(problems), note=note)


def _one(outcome: Outcome, wanted: str, deaths: tuple[Death, ...] = (), note: str = "") -> Blow:
    """Of an injection with one request of its own, which was to get that answer."""
    return Blow(deaths, (outcome,), _unless(outcome, wanted), note)


def _unless(outcome: Outcome, *wanted: str) -> tuple[str, ...]:
    """A problem where the answer is none of these, or does not say when to come again where that is known."""
    if outcome.kind not in wanted:
        return (f"{outcome.kind} in place of {wanted[-1]}",)
    if outcome.kind.startswith("503") and not outcome.retry_after:
        return (f"{outcome.kind} without Retry-After",)
    return ()


def _kill(stack: Stack, slot: int) -> Death:
    """Until the kernel has ended the last thread of a process of some size, its socket still takes connections: what
    is sent meanwhile is inside the killed worker.
    """
    worker = os.pidfd_open(stack.worker(slot))
    try:
        signal.pidfd_send_signal(worker, signal.SIGKILL)
        if not select.select([worker], [], [], _LONGEST_STOP_S)[0]:
            raise TimeoutError("a killed worker does not end")
        return Death(slot, time.time())
    finally:
        os.close(worker)


def _survived(stack: Stack, *deaths: Death) -> tuple[Death, ...]:
    """Wait until each slot is ready again. Raises TimeoutError."""
    return tuple(replace(death, ready_s=stack.became_ready_s(death.slot, death.at_s)) for death in deaths)


def _not_dropped(stack: Stack, outcomes: tuple[Outcome, ...]) -> tuple[str, ...]:
    """What was worked on to its end though its client had left; each is to be given up, and said to be, soon."""
    names = {each.request_id for each in outcomes}

    def given_up() -> set[str]:
        return {line.fields["request_id"] for line in stack.lines("request") if line.fields["status"] == 499} & names

    try:
        until(lambda: given_up() == names, _NOTICED_S)
    except TimeoutError:
        return (f"{len(names - given_up())} of {len(names)} were not given up",)
    done = {line.fields["request_id"] for line in stack.lines("transcribed")} & names
    return (f"{len(done)} were transcribed for nobody",) if done else ()


@contextmanager
def _full(disk: Path) -> Iterator[None]:
    """Raises Skip: it is no disk of its own."""
    if not disk.is_mount():
        raise Skip("needs root: a small file system is mounted")
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
    """What the gauges still say wrongly when they have had the time to be renewed."""
    with suppress(TimeoutError):
        until(lambda: not scrape(stack).complaints(n_restarts), _GAUGES_S, every_s=0.2)
    return scrape(stack).complaints(n_restarts)


def _rss_mib(stack: Stack) -> float:
    return float(psutil.Process(stack.service.pid).memory_info().rss / 1024**2)


FAULTS = (
    Fault("kill -9 of a worker that is idle", killed_idle, in_smoke=True),
    Fault("kill -9 while receiving", partial(killed_at, "receiving")),
    Fault("kill -9 while decoding", partial(killed_at, "decoding")),
    Fault("kill -9 while inferring", partial(killed_at, "inferring"), in_smoke=True),
    Fault("kill -9 under a stream", killed_under_a_stream),
    Fault("failed respawn", failed_respawn),
    Fault("SIGSTOP of a worker", stopped),
    Fault("SIGTERM to a worker, mid-request", worker_told_to_end, in_smoke=True),
    Fault("SIGTERM to the master, mid-request", master_told_to_end, frozenset({NOT_READY})),
    Fault("a decoder's child killed", decoder_killed, in_smoke=True),
    Fault("a decoder server killed", decoder_server_killed),
    Fault("full disk under the slots", partial(disk_full, nginx=False), frozenset({NO_ROOM}), in_smoke=True),
    Fault("full disk under Nginx", partial(disk_full, nginx=True), frozenset({NO_ROOM})),
    Fault("clients gone while queued", gone_while_queued),
    Fault("a client gone while inferring", gone_while_inferring),
    Fault("slow and stalled uploads", slow_upload),
    Fault("twice the capacity", twice_the_capacity, frozenset({OVERLOADED})),
    Fault("kill -9 again and again", killed_again_and_again, in_smoke=True),
)
