"""Every variant of Nginx's configuration in a real Nginx, and several machines as one service."""

import re
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.live import ALL, tone
from asr_service.settings import load_settings
from nginx.conftest import Stack
from nginx.proxy import Certificate, Nginx, free_port, needs_nginx, proxying
from serving.harness import running
from waiting import until

pytestmark = needs_nginx


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({"devices": "cpu"}, {}),
        ({"devices": "cpu", "host": "::", "port": 8100}, {}),
        ({"devices": ",".join(["cuda:0"] * 8)}, {"inside": ("10.0.0.0/8", "2001:db8::/32")}),
        ({"devices": "cpu,cpu", "request_timeout_s": 0.5, "upload_timeout_s": 2.5}, {"connections": 1}),
        ({"devices": "cpu,cpu"}, {"machines": ("127.0.0.1:8080", "[::1]:8080", "unix:/run/x.sock")}),
        ({"devices": "cpu"}, {"upstreams": ("127.0.0.1:8080", "localhost:8081")}),
        ({"devices": "cpu,cpu"}, {"private": True}),
        ({"devices": "cpu,cpu"}, {"ipv6": True}),
        ({"devices": "cpu,cpu", "api_keys_file": "/keys"}, {}),
        ({"devices": "cpu,cpu", "api_keys_file": "/keys"}, {"machines": ("127.0.0.1:8080", "127.0.0.1:8081")}),
        ({"devices": "cpu,cpu", "api_keys_file": "/keys"}, {"private": True}),
    ],
    ids=[
        *("one-slot", "ipv6-slot", "eight-slots", "fractions", "front", "slots-elsewhere", "machine", "ipv6"),
        *("keys", "keys-at-the-front", "keys-behind-it"),
    ],
)
def test_nginx_accepts_the_file_without_a_warning(
    certificate: Certificate, tmp_path: Path, settings: Any, options: Any
) -> None:
    """The file is rendered for the installed version."""
    if options.get("ipv6") and not socket.has_dualstack_ipv6():
        pytest.skip("needs IPv6")
    nginx = Nginx(tmp_path / "nginx", load_settings({}, **settings), certificate, **options)
    output = nginx.check()
    assert "test is successful" in output
    assert not re.search(r"\[(warn|emerg|alert|error)\]", output), output


@pytest.fixture(scope="module")
def rooted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """Start Nginx in front of two slots with jobs, whose paths begin with /asr and whose model takes 0.3 s for a call.

    State and metrics are only for 127.0.0.2.
    """
    folder = tmp_path_factory.mktemp("rooted")
    given = {"devices": "cpu,cpu", "root_path": "/asr", "state_dir": str(folder / "state")}
    environ = {f"ASR_{name.upper()}": value for name, value in given.items()}
    with running(folder / "service", None, FAKE_MODEL="0.3", **environ) as service:
        settings = load_settings({}, socket_dir=service.directory / "run", **given)
        with proxying(folder / "nginx", settings, Certificate(folder / "tls"), inside=("127.0.0.2",)) as nginx:
            until(lambda: nginx.get("/health/ready").status_code == 200, within_s=60, what="the slot")
            yield nginx


@pytest.fixture
def machines(stack: Stack, tmp_path: Path) -> Iterator[tuple[Nginx, Nginx, Nginx]]:
    """Start a front and two machines, of which the second has no ready slot."""
    with ExitStack() as running:

        def start(name: str, **options: Any) -> Nginx:
            nginx: Nginx = running.enter_context(stack.another(tmp_path / name, **options))
            return nginx

        sockets = str(stack.service.socket(0).parent)
        first = start("first", private=True)
        second = start("second", private=True, change=lambda text: text.replace(sockets, "/nonexistent"))
        addresses = tuple(f"127.0.0.1:{machine.private_port}" for machine in (first, second))
        yield start("front", machines=addresses), first, second


def test_a_machine_without_a_ready_slot_gets_no_request(stack: Stack, machines) -> None:
    """It always has the fewest open requests. All requests, POSTs and probes too, must go on to another machine."""
    front, _, second = machines
    answers = [front.post(headers={"x-request-id": f"machine-{n}"}) for n in range(10)]
    assert {answer.status_code for answer in answers} == {200}
    assert all([note.step for note in stack.notes(f"machine-{n}")].count("inferring") == 1 for n in range(10))
    assert front.get("/health/ready").status_code == 200
    until(lambda: 444 in {line["status"] for line in second.log()}, what="a request that was not taken")


def test_a_machine_that_is_down_fails_no_request(stack: Stack, machines, tmp_path: Path) -> None:
    addresses = (f"127.0.0.1:{free_port()}", f"127.0.0.1:{machines[1].private_port}")
    with stack.another(tmp_path / "another", machines=addresses) as front:
        assert {front.post().status_code for _ in range(5)} == {200}


def test_the_slot_sees_the_client_that_the_front_saw(stack: Stack, machines) -> None:
    """The slot sees the client's address and protocol, and all logs have the same request id."""
    front, first, _ = machines
    given = {"x-request-id": "through", "x-forwarded-for": "10.9.8.7"}
    output = front.post(headers=given, come_from="127.0.0.2").json()["headers"]
    assert output["x-forwarded-for"] == "127.0.0.2"
    assert (output["x-forwarded-proto"], output["x-request-id"]) == ("https", "through")
    assert front.logged("through")["status"] == first.logged("through")["status"] == 200


def test_a_recording_that_kills_a_slot_is_sent_to_no_other_machine(stack: Stack, machines, tmp_path: Path) -> None:
    """The front passes the machine's 502 on. Only a machine that closes without an answer has done nothing."""
    addresses = (f"127.0.0.1:{machines[1].private_port}",) * 2
    with stack.another(tmp_path / "another", machines=addresses) as front, ThreadPoolExecutor() as pool:
        lost = pool.submit(front.post, "/speech?infer_s=60", headers={"x-request-id": "poison"})
        stack.service.signal(signal.SIGKILL, stack.at("poison", "inferring").pid)
        answer = lost.result()
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_stopped")
    assert [note.step for note in stack.notes("poison")].count("inferring") == 1
    stack.service.ready(0, 1)


def test_without_a_ready_machine_the_answer_has_retry_after(stack: Stack, machines, tmp_path: Path) -> None:
    """All machines are down or have no ready slot."""
    addresses = (f"127.0.0.1:{free_port()}", f"127.0.0.1:{machines[2].private_port}")
    with stack.another(tmp_path / "another", machines=addresses) as front:
        for _ in range(3):
            answer = front.post()
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
            assert answer.headers["retry-after"] == "5"


def test_the_jobs_of_a_caller_are_on_one_machine(stack: Stack, tmp_path: Path) -> None:
    """Each machine keeps its own jobs. The caller is the API key, in either header, or else the address."""
    with ExitStack() as running:
        machines = [running.enter_context(stack.another(tmp_path / name, private=True)) for name in "ab"]
        addresses = tuple(f"127.0.0.1:{machine.private_port}" for machine in machines)
        front: Nginx = running.enter_context(stack.another(tmp_path / "front", machines=addresses))

        def used(path: str, come_from: str = "127.0.0.1", **headers: str) -> str:
            name = f"jobs-{len(front.log())}"
            given = {"x-request-id": name, **{key.replace("_", "-"): value for key, value in headers.items()}}
            assert front.post(path, headers=given, come_from=come_from).status_code == 200
            upstream: str = front.logged(name)["upstream"]
            return upstream

        of_keys = set()
        for n in range(24):  # a few keys may all belong to one machine
            by_key = {used("/jobs", x_api_key=f"asr_{n}"), used(f"/jobs/{n}/events", authorization=f"Bearer asr_{n}")}
            by_key.add(used("//jobs/", authorization=f"bearer asr_{n}", x_api_key=f"asr_{n}"))
            assert len(by_key) == 1
            of_keys |= by_key
        assert of_keys == set(addresses)
        assert len({used(f"/jobs/{n}", come_from="127.0.0.2") for n in range(4)}) == 1
        assert {used("/speech", x_api_key="asr_1") for _ in range(4)} == set(addresses)


def test_a_machine_answers_only_its_own_network(stack: Stack, tmp_path: Path) -> None:
    """A machine trusts X-Forwarded-For, so it answers only its own network."""
    with stack.another(tmp_path / "machine", private=True, inside=("127.0.0.2",)) as machine:
        url = f"http://127.0.0.1:{machine.private_port}"
        refused = httpx.post(f"{url}/speech", content=b"speech")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
        inside = httpx.HTTPTransport(local_address="127.0.0.2")
        with httpx.Client(transport=inside) as client:
            assert client.post(f"{url}/speech", content=b"speech").status_code == 200
            assert client.get(f"{url}/metrics").status_code == 200


@pytest.mark.parametrize("prefix", ["", "/asr", "/asr/asr", "/asr//asr/asr"])
def test_a_root_path_opens_no_way_around_the_inside_addresses(rooted: Nginx, prefix: str) -> None:
    """Nginx and the service both remove the prefix, so that a repeated one must not hide a path from Nginx."""
    for path in ("/health", "/health/", "/metrics"):
        assert rooted.get(prefix + path).status_code == 403
        assert rooted.get(prefix + path, come_from="127.0.0.2").status_code == 200
    assert rooted.get(prefix + "/languages").status_code == 200


def test_waiting_requests_and_events_pass_while_the_job_runs(rooted: Nginx) -> None:
    """Nginx passes each event of a job on at once, and lets a request wait until the job ends."""
    answer = rooted.request("POST", "/asr/jobs", files={"file": tone(250)}, data=ALL)
    assert answer.status_code == 202, answer.text
    job = answer.headers["location"]
    with (
        ThreadPoolExecutor(1) as pool,
        httpx.Client(verify=rooted.certificate.trust, timeout=60) as client,
        client.stream("GET", f"{rooted.url}{job}/events") as events,
    ):
        waiting = pool.submit(rooted.get, f"{job}?wait=60")
        lines = events.iter_lines()
        until(lambda: '"status":"running"' in next(lines), what="an event while the job runs")
        assert not waiting.done()
        assert rooted.request("DELETE", job).status_code == 200
        assert waiting.result().json()["status"] == "cancelled"
        assert any('"status":"cancelled"' in line for line in lines)
