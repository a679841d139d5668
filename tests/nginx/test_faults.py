"""Slots that die, load, hang, drain and reload behind Nginx: each request gets one answer, and none is done twice."""

import contextlib
import itertools
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import httpx
import pytest

from nginx.conftest import Stack
from nginx.proxy import needs_nginx
from waiting import until

pytestmark = needs_nginx

BODY = bytes(6_000_000)
"""More than the sockets between Nginx and a slot hold."""


@pytest.fixture(autouse=True)
def _nothing_is_done_twice(stack: Stack) -> Iterator[None]:
    """Every test begins with two slots that serve, and whatever it does, no request is worked on a second time."""
    until(lambda: answering(stack) == {0, 1}, what="both slots")
    yield
    counted = Counter((note.request, note.step) for note in stack.notes())
    assert max(counted.values()) == 1, [each for each, count in counted.items() if count > 1]


def answering(stack: Stack) -> set[int]:
    """The slots that four requests in a row go to."""
    answers = [stack.nginx.post() for _ in range(4)]
    return {answer.json()["slot"] if answer.status_code == 200 else -1 for answer in answers}


def end(stack: Stack, slot: int, how: signal.Signals = signal.SIGKILL) -> None:
    """End the slot's worker."""
    stack.service.signal(how, stack.service.about(slot)["pid"])


@contextlib.contextmanager
def loading_for_ever(stack: Stack, *slots: int, how: signal.Signals) -> Iterator[None]:
    """The slots' workers are ended, and their successors load, for as long as the block lasts."""
    n_before = len(stack.service.lines("loading"))

    def loading() -> list[int]:
        return [line["pid"] for line in stack.service.lines("loading")[n_before:]]

    with stack.fault("load_s", "3600"):
        for slot in slots:
            end(stack, slot, how)
        until(lambda: len(loading()) == len(slots), what="the successors")
        yield
    for pid in loading():
        stack.service.signal(signal.SIGKILL, pid)


class Load:
    """Clients that send one request after the other, until the block is left. `answers` are then all they got."""

    def __init__(self, stack: Stack, n_clients: int = 3) -> None:
        self._stack = stack
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(client,)) for client in range(n_clients)]
        self._name = f"load-{time.monotonic_ns()}"
        self.answers: list[httpx.Response | Exception] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def outcomes(self) -> Counter[str]:
        return Counter(
            repr(each) if isinstance(each, Exception) else f"{each.status_code}" for each in list(self.answers)
        )

    def wait_for_more(self, n: int = 20) -> None:
        enough = len(self.answers) + n
        until(lambda: len(self.answers) >= enough, what="answers")

    def _run(self, client: int) -> None:
        for n in itertools.count():
            if self._enough.is_set():
                return
            try:
                named = {"x-request-id": f"{self._name}-{client}-{n}"}
                self.answers.append(self._stack.nginx.post("/speech?infer_s=0.02", headers=named))
            except httpx.HTTPError as error:
                self.answers.append(error)


@pytest.mark.parametrize("step", ["receiving", "decoding", "inferring"])
def test_a_worker_killed_at_work_costs_the_request_it_held(stack: Stack, step: str) -> None:
    """That one is told so at once, and is not given to the other slot: what killed one would kill both."""
    name = f"killed-{step}"
    lasts = {"receiving": "receive_s", "decoding": "decode_s", "inferring": "infer_s"}[step]
    with ThreadPoolExecutor() as pool:
        lost = pool.submit(stack.nginx.post, f"/speech?{lasts}=60", body=BODY, headers={"x-request-id": name})
        victim = stack.at(name, step)
        kept = pool.submit(stack.nginx.post, "/speech?infer_s=0.5", headers={"x-request-id": f"beside-{step}"})
        assert stack.at(f"beside-{step}", "inferring").slot != victim.slot
        began = time.monotonic()
        stack.service.signal(signal.SIGKILL, victim.pid)
        answer = lost.result()
        lasted = time.monotonic() - began
        assert kept.result().status_code == 200
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_stopped")
    assert "retry-after" not in answer.headers
    assert lasted < 5
    assert [note.step for note in stack.notes(name)][-1] == step
    assert {note.slot for note in stack.notes(name)} == {victim.slot}


def test_a_worker_killed_while_idle_costs_nothing(stack: Stack) -> None:
    """What is then sent goes to the other slot: a connect that fails has sent nothing."""
    end(stack, 0)
    assert {stack.nginx.post().status_code for _ in range(10)} == {200}


def test_a_slot_that_loads_gets_no_request(stack: Stack) -> None:
    """The other one answers all of them, and it has its share again as soon as it is ready."""
    with Load(stack) as load:
        with loading_for_ever(stack, 0, how=signal.SIGTERM):
            before = len(stack.notes())
            load.wait_for_more()
            assert {note.slot for note in stack.notes()[before:]} == {1}
        until(lambda: answering(stack) == {0, 1}, what="both slots")
    assert set(load.outcomes()) == {"200"}


def test_a_slot_that_cannot_start_again_leaves_the_service_up(stack: Stack) -> None:
    """It is tried again and again, without a request of the other slot failing, until it can."""
    n_tries = len(stack.service.lines("loading"))
    with Load(stack) as load:
        with stack.fault("fail.0", "1:the model is broken"):
            end(stack, 0, signal.SIGTERM)
            until(lambda: len(stack.service.lines("loading")) >= n_tries + 3, what="three tries")
            load.wait_for_more()
        until(lambda: answering(stack) == {0, 1}, what="both slots")
    assert set(load.outcomes()) == {"200"}


def test_with_no_slot_left_it_is_said_when_to_come_again(stack: Stack) -> None:
    """503 and Retry-After at once, to probes too; and service as soon as one slot is there."""
    with loading_for_ever(stack, 0, 1, how=signal.SIGKILL):
        answer = stack.nginx.post(headers={"x-request-id": "nobody"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
        assert answer.headers.get_list("retry-after") == ["5"]
        for path in ("/health/ready", "/health/slots/1"):
            assert stack.nginx.get(path).json()["error"]["code"] == "not_ready"
    until(lambda: stack.nginx.post().status_code == 200, what="service")
    assert not stack.notes("nobody")


def test_a_slot_that_drains_finishes_and_takes_nothing_new(stack: Stack) -> None:
    """Its request ends well, though it was told to stop; the new ones go to the other."""
    with ThreadPoolExecutor() as pool:
        held = pool.submit(stack.nginx.post, "/stream", headers={"x-request-id": "held"})
        draining = stack.at("held", "streaming")
        stack.service.signal(signal.SIGTERM, draining.pid)
        until(lambda: not stack.service.socket(draining.slot).exists())
        assert {stack.nginx.post().json()["slot"] for _ in range(6)} == {1 - draining.slot}
        with stack.fault("go"):
            assert held.result().text == "first\nlast\n"


def test_a_hung_slot_costs_what_it_held(stack: Stack) -> None:
    """A stopped process still takes connections, until the master ends it; who has the fewest open goes first."""
    with ThreadPoolExecutor() as pool:
        held = pool.submit(stack.nginx.post, "/speech?infer_s=60", headers={"x-request-id": "stopped"})
        victim = stack.at("stopped", "inferring")
        stack.service.signal(signal.SIGSTOP, victim.pid)
        assert {stack.nginx.post().status_code for _ in range(5)} == {200}
        answer = held.result()
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_stopped")


def test_a_stream_that_breaks_off_is_seen_to(stack: Stack) -> None:
    """The client gets what there was and then an error, never what looks like a whole answer."""
    with (
        httpx.Client(verify=stack.certificate.trust, timeout=30) as client,
        client.stream("POST", f"{stack.nginx.url}/stream", headers={"x-request-id": "broken"}) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == "first"
        stack.service.signal(signal.SIGKILL, stack.at("broken", "streaming").pid)
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)


def test_a_reload_under_load_fails_no_request(stack: Stack) -> None:
    """Both workers are replaced, one after the other, twice, and every answer is a 200."""
    before = {stack.service.about(slot)["pid"] for slot in (0, 1)}
    with stack.fault("load_s", "0.3"), Load(stack, n_clients=4) as load:
        for n in (1, 2):
            stack.service.signal(signal.SIGHUP)
            until(lambda n=n: len(stack.service.lines("reload complete")) == n)  # type: ignore[misc]
        load.wait_for_more()
    assert set(load.outcomes()) == {"200"}
    assert not before & {stack.service.about(slot)["pid"] for slot in (0, 1)}
