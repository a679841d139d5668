"""Slots that die, load, hang, drain and reload behind Nginx: one answer for each request, and no work done twice."""

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
"""More bytes than the socket buffers between Nginx and a slot hold."""


@pytest.fixture(autouse=True)
def _nothing_is_done_twice(stack: Stack) -> Iterator[None]:
    """Every test begins with two ready slots, and during it no request is processed twice."""
    until(lambda: answering(stack) == {0, 1}, what="both slots")
    yield
    counted = Counter((note.request, note.step) for note in stack.notes())
    assert max(counted.values()) == 1, [each for each, count in counted.items() if count > 1]


def answering(stack: Stack) -> set[int]:
    """Return the slots that four requests in a row reach."""
    answers = [stack.nginx.post() for _ in range(4)]
    return {answer.json()["slot"] if answer.status_code == 200 else -1 for answer in answers}


def end(stack: Stack, slot: int, how: signal.Signals = signal.SIGKILL) -> None:
    """Kill the slot's worker."""
    stack.service.signal(how, stack.service.about(slot)["pid"])


@contextlib.contextmanager
def loading_for_ever(stack: Stack, *slots: int, how: signal.Signals) -> Iterator[None]:
    """Kill the slots' workers, and keep the new ones loading until the block ends."""
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
    """Run clients that send one request after the other until the block ends. `answers` then has all answers."""

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
def test_a_worker_killed_at_work_fails_only_its_request(stack: Stack, step: str) -> None:
    """Its client gets an error at once. The request is not sent to the other slot, which it would kill too."""
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


def test_a_worker_killed_while_idle_fails_no_request(stack: Stack) -> None:
    """Later requests go to the other slot: a connection that fails has sent nothing."""
    end(stack, 0)
    assert {stack.nginx.post().status_code for _ in range(10)} == {200}


def test_a_loading_slot_gets_no_request(stack: Stack) -> None:
    """The other slot answers all requests. The loading slot gets its share again as soon as it is ready."""
    with Load(stack) as load:
        with loading_for_ever(stack, 0, how=signal.SIGTERM):
            before = len(stack.notes())
            load.wait_for_more()
            assert {note.slot for note in stack.notes()[before:]} == {1}
        until(lambda: answering(stack) == {0, 1}, what="both slots")
    assert set(load.outcomes()) == {"200"}


def test_a_slot_that_cannot_restart_does_not_stop_the_service(stack: Stack) -> None:
    """It is retried until it can start, and no request of the other slot fails meanwhile."""
    n_tries = len(stack.service.lines("loading"))
    with Load(stack) as load:
        with stack.fault("fail.0", "1:the model is broken"):
            end(stack, 0, signal.SIGTERM)
            until(lambda: len(stack.service.lines("loading")) >= n_tries + 3, what="three tries")
            load.wait_for_more()
        until(lambda: answering(stack) == {0, 1}, what="both slots")
    assert set(load.outcomes()) == {"200"}


def test_without_a_ready_slot_the_answer_has_retry_after(stack: Stack) -> None:
    """Requests and probes get a 503 with Retry-After at once. One ready slot is enough to serve again."""
    with loading_for_ever(stack, 0, 1, how=signal.SIGKILL):
        answer = stack.nginx.post(headers={"x-request-id": "nobody"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
        assert answer.headers.get_list("retry-after") == ["5"]
        for path in ("/health/ready", "/health/slots/1"):
            assert stack.nginx.get(path).json()["error"]["code"] == "not_ready"
    until(lambda: stack.nginx.post().status_code == 200, what="service")
    assert not stack.notes("nobody")


def test_a_draining_slot_finishes_its_request_and_gets_no_new_one(stack: Stack) -> None:
    """Its open request succeeds although it was told to stop, and new requests go to the other slot."""
    with ThreadPoolExecutor() as pool:
        held = pool.submit(stack.nginx.post, "/stream", headers={"x-request-id": "held"})
        draining = stack.at("held", "streaming")
        stack.service.signal(signal.SIGTERM, draining.pid)
        until(lambda: not stack.service.socket(draining.slot).exists())
        assert {stack.nginx.post().json()["slot"] for _ in range(6)} == {1 - draining.slot}
        with stack.fault("go"):
            assert held.result().text == "first\nlast\n"


def test_a_hung_slot_fails_only_its_requests(stack: Stack) -> None:
    """A stopped process still accepts connections until the master kills it."""
    with ThreadPoolExecutor() as pool:
        held = pool.submit(stack.nginx.post, "/speech?infer_s=60", headers={"x-request-id": "stopped"})
        victim = stack.at("stopped", "inferring")
        stack.service.signal(signal.SIGSTOP, victim.pid)
        assert {stack.nginx.post().status_code for _ in range(5)} == {200}
        answer = held.result()
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_stopped")


def test_an_interrupted_stream_ends_with_an_error(stack: Stack) -> None:
    """The client gets the sent part and then an error, never an answer that seems complete."""
    with (
        httpx.Client(verify=stack.certificate.trust, timeout=60) as client,
        client.stream("POST", f"{stack.nginx.url}/stream", headers={"x-request-id": "broken"}) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == "first"
        stack.service.signal(signal.SIGKILL, stack.at("broken", "streaming").pid)
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)


def test_a_reload_under_load_fails_no_request(stack: Stack) -> None:
    """Both workers are replaced one after the other, twice, and every answer is a 200."""
    before = {stack.service.about(slot)["pid"] for slot in (0, 1)}
    with stack.fault("load_s", "0.3"), Load(stack, n_clients=4) as load:
        for n in (1, 2):
            stack.service.signal(signal.SIGHUP)
            until(lambda n=n: len(stack.service.lines("reload complete")) == n)  # type: ignore[misc]
        load.wait_for_more()
    assert set(load.outcomes()) == {"200"}
    assert (stack.nginx.folder / "asr-service.error.log").read_text() == ""
    assert not before & {stack.service.about(slot)["pid"] for slot in (0, 1)}
