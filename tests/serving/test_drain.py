"""SIGTERM: accepted requests are finished, new ones are refused, and the service ends."""

import queue
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from asr_service.serving.arbiter import SlotArbiter
from serving.harness import running
from waiting import until


def test_the_master_ends_after_the_last_request_even_past_the_heartbeat_limit(tmp_path):
    """A request longer than Gunicorn's `timeout` completes. Meanwhile new ones get a 503. Then the exit code is 0."""
    with running(tmp_path, {"heartbeat_s": 1}) as service, ThreadPoolExecutor() as pool:
        service.ready()
        long = pool.submit(service.get, "/work?s=3")
        until(lambda: service.metric('asr_inflight_requests{slot="0"}') == 1)
        service.signal(signal.SIGTERM)
        until(lambda: service.get("/work").status == 503, what="a refusal")
        assert long.result().text == "done"
        assert service.ended() == 0
        assert "WORKER TIMEOUT" not in service.text()


def test_a_slot_that_is_told_to_end_finishes_and_is_replaced(tmp_path):
    """Its socket is removed at once, its request is finished, and a new worker takes the slot."""
    with running(tmp_path, {"heartbeat_s": 1}, ASR_DEVICES="cpu,cpu") as service, ThreadPoolExecutor() as pool:
        old = service.ready(0, 1).about(0)["pid"]
        long = pool.submit(service.get, "/work?s=2", 0)
        until(lambda: service.metric('asr_inflight_requests{slot="0"}', slot=1) == 1)
        service.signal(signal.SIGTERM, old)
        until(lambda: not service.socket(0).exists())
        assert not long.done()
        assert service.answers(1)
        assert long.result().text == "done"
        assert service.ready(0).about(0)["pid"] != old
        assert service.metric('asr_worker_restarts_total{slot="0"}', slot=1) == 1


def test_a_client_that_connected_just_before_the_drain_is_served(tmp_path):
    """A proxy that had connected gets its answer, although the slot was told to end before the request arrived."""
    with (
        running(tmp_path, {"accept_grace_s": 3}, ASR_DEVICES="cpu,cpu") as service,
        socket.socket(socket.AF_UNIX) as proxy,
    ):
        old = service.ready(0, 1).about(0)["pid"]
        proxy.connect(str(service.socket(0)))
        service.signal(signal.SIGTERM, old)
        until(lambda: not service.socket(0).exists())
        proxy.sendall(b"GET /work HTTP/1.1\r\nHost: slot\r\n\r\n")
        assert proxy.recv(100).startswith(b"HTTP/1.1 200")


def test_a_drain_ends_by_its_deadline(tmp_path):
    """A request that takes longer than the drain is cut off, and the service ends."""
    with running(tmp_path, {"drain_s": 1}) as service, ThreadPoolExecutor() as pool:
        service.ready()
        long = pool.submit(service.get, "/work?s=100", None, 110)
        until(lambda: service.metric('asr_inflight_requests{slot="0"}') == 1)
        service.signal(signal.SIGTERM)
        assert service.ended() == 0
        assert long.exception() is not None or long.result().status >= 500


def test_the_end_does_not_wait_for_an_answered_client(tmp_path):
    """A client that goes on sending after its last answer does not delay the end."""
    with running(tmp_path, {"lingering_close_s": 600}) as service:
        address = urlsplit(service.ready().url)
        with socket.create_connection((address.hostname, address.port), timeout=60) as client:
            client.sendall(b"POST /work HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: 9\r\n\r\n")
            assert client.recv(15) == b"HTTP/1.1 200 OK"
            service.signal(signal.SIGTERM)
            assert service.ended() == 0


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_does_not_wait(tmp_path, first):
    """SIGINT ends the service while requests are open, also after SIGTERM."""
    with running(tmp_path) as service, ThreadPoolExecutor() as pool:
        service.ready()
        long = pool.submit(service.get, "/work?s=100", None, 110)
        until(lambda: service.metric('asr_inflight_requests{slot="0"}') == 1)
        service.signal(first)
        service.signal(signal.SIGINT)
        assert service.ended() == 0
        assert long.exception() is not None or long.result().status >= 500


def test_ctrl_c_that_arrives_together_with_sigterm_is_not_lost():
    """The master takes both from its queue at once. SIGTERM ends its loop, so it must come last."""
    arbiter: Any = SlotArbiter.__new__(SlotArbiter)
    arbiter.plan = SimpleNamespace(limits=SimpleNamespace(tick_s=0.01))
    arbiter.SIG_QUEUE = queue.SimpleQueue()
    for each in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT):
        arbiter.SIG_QUEUE.put(each)
    assert arbiter.wait_for_signals() == [signal.SIGINT, signal.SIGTERM, signal.SIGCHLD]


def test_workers_end_when_their_master_has_gone(tmp_path):
    """After a killed master no worker keeps a device and a port."""
    with running(tmp_path) as service:
        (worker,) = service.ready().workers()
        service.signal(signal.SIGKILL)
        service.ended()
        until(lambda: "The master has gone" in service.text())
        until(lambda: not _lives(worker), what="the worker's end")


def _lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
