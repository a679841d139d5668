"""More connections than a slot can hold: the longest idle ones are closed, others refused, and clients are served."""

import json
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from prometheus_client.mmap_dict import MmapedDict

from engines import loud, wav
from serving.harness import Service, running
from waiting import until

LIMIT = 64
GET = b"GET /work HTTP/1.1\r\nHost: here\r\n\r\n"
NO_DESCRIPTORS = "no free file descriptors: new connections are closed"
AT_THE_LIMIT = "connections at their limit: the longest idle ones are closed, and others are refused"

Connect = Callable[..., socket.socket]


@contextmanager
def connecting(service: Service) -> Iterator[Connect]:
    address = urlsplit(service.url)
    with ExitStack() as stack:

        def connect(sent: bytes = b"") -> socket.socket:
            client = stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=60))
            client.sendall(sent)
            return client

        yield connect


def worker(service: Service) -> psutil.Process:
    (pid,) = service.workers()
    return psutil.Process(pid)


def n_connections(service: Service) -> int:
    found = worker(service).net_connections("tcp")
    return sum(each.status == psutil.CONN_ESTABLISHED for each in found)


def n_in_flight(service: Service) -> float:
    """Read it from the file, without a connection."""
    file = service.metrics_dir / "gauge_livesum_slot-0.db"
    values = MmapedDict.read_all_values_from_file(file)  # type: ignore[no-untyped-call]
    return float(sum(value for key, value, _, _ in values if "asr_inflight_requests" in key))


def is_closed(client: socket.socket) -> bool:
    client.settimeout(0)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def answer(client: socket.socket) -> bytes:
    client.settimeout(10)
    return client.recv(4096)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running(tmp_path_factory.mktemp("limited"), OPEN_FILES=f"{2 * LIMIT}:{2 * LIMIT}") as service:
        yield service.ready()


@pytest.fixture
def connect(service):
    with connecting(service) as connect:
        yield connect
    until(lambda: n_connections(service) == 0)


def test_the_longest_idle_connection_is_closed_for_a_new_one(service, connect):
    """With or without an earlier request. A connection that waits for its answer stays open."""
    busy = connect(GET.replace(b"/work", b"/work?s=2"))
    kept_alive = connect(GET)
    assert b"200 OK" in answer(kept_alive)
    silent = connect()
    others = [connect() for _ in range(LIMIT - 3)]
    until(lambda: n_connections(service) == LIMIT)
    assert not service.lines(AT_THE_LIMIT)
    assert b"200 OK" in answer(connect(GET))
    until(lambda: is_closed(kept_alive))
    assert not is_closed(silent)
    assert b"200 OK" in answer(connect(GET))
    until(lambda: is_closed(silent))
    assert not any(map(is_closed, others))
    assert b"200 OK" in answer(busy)
    assert len(service.lines(AT_THE_LIMIT)) == 1


def test_a_connection_is_refused_if_all_others_wait_for_answers(service, connect):
    """The 503 has the standard format and says when to retry. Later there is room again."""
    busy = [connect(GET.replace(b"/work", b"/work?s=2")) for _ in range(LIMIT)]
    until(lambda: n_in_flight(service) == LIMIT)
    refused = connect(GET)
    head, body = b"".join(iter(lambda: refused.recv(4096), b"")).split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 5" in head
    assert json.loads(body)["error"]["code"] == "overloaded"
    assert all(b"200 OK" in answer(client) for client in busy)
    assert b"200 OK" in answer(connect(GET))


def test_without_free_descriptors_the_slot_neither_spins_nor_ends(tmp_path):
    """Connections are closed until there are descriptors again."""
    with running(tmp_path) as service, connecting(service.ready()) as connect:
        process = worker(service)
        limit = process.rlimit(resource.RLIMIT_NOFILE)
        process.rlimit(resource.RLIMIT_NOFILE, (process.num_fds(), limit[1]))
        clients = [connect(GET) for _ in range(20)]
        before_s = sum(process.cpu_times()[:2])
        until(lambda: all(map(is_closed, clients)))
        until(lambda: service.lines(NO_DESCRIPTORS))
        assert sum(process.cpu_times()[:2]) - before_s < 0.5
        process.rlimit(resource.RLIMIT_NOFILE, limit)
        assert b"200 OK" in answer(connect(GET))
        assert len(service.lines(NO_DESCRIPTORS)) == 1
        assert worker(service) == process


def test_many_idle_connections_disturb_nobody(tmp_path):
    """The soft limit of open files is raised. Beyond it, uploads and the watchdog still find descriptors."""
    with running(tmp_path, FAKE_MODEL="0", OPEN_FILES="100:300") as service, connecting(service.ready()) as connect:
        assert worker(service).rlimit(resource.RLIMIT_NOFILE) == (300, 300)
        for _ in range(6):
            for _ in range(100):
                connect()
            data = {"file": ("a.wav", wav(loud(1)))}
            assert httpx.post(f"{service.url}/transcribe?vad_filter=false", files=data).status_code == 200
        assert worker(service).num_fds() > 150
        assert not service.lines("a duty of the watchdog failed")
        assert service.metric('asr_worker_rss_bytes{slot="0"}')
