"""Notifications to systemd, on a real datagram socket."""

import os
import signal
import socket
from pathlib import Path

import pytest

from asr_service.serving.systemd import Notifier
from serving.harness import running
from waiting import until


class Manager:
    """The receiving end of $NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)
        self.received: list[str] = []

    def has_received(self, message: str) -> bool:
        try:
            while True:
                self.received.append(self.socket.recv(4096).decode())
        except BlockingIOError:
            return message in self.received


@pytest.fixture
def manager(tmp_path):
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.socket.close()


def test_systemd_sees_the_state_of_the_slots(tmp_path, manager):
    """READY is sent with the first ready slot, STATUS counts ready slots, WATCHDOG is repeated, STOPPING is last."""
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000", "ASR_DEVICES": "cpu,cpu"}
    faults = tmp_path / "faults"
    faults.mkdir()
    (faults / "load_s").write_text("1")
    (faults / "load_s.1").write_text("2")
    with running(tmp_path, None, **environ) as service:
        until(lambda: manager.has_received("READY=1"), what="READY")
        until(lambda: service.lines("ready"), what="the line of the worker")
        until(lambda: manager.has_received("STATUS=2 of 2 slots ready"), what="STATUS")
        order = [message for message in manager.received if not message.startswith("WATCHDOG")]
        assert order == [
            "STATUS=0 of 2 slots ready",
            "READY=1",
            "STATUS=1 of 2 slots ready",
            "STATUS=2 of 2 slots ready",
        ]
        assert "NOTIFY_SOCKET" not in service.get("/environment", 0).json()
        n_pings = manager.received.count("WATCHDOG=1")
        until(
            lambda: manager.has_received("WATCHDOG=1") and manager.received.count("WATCHDOG=1") > n_pings, what="a ping"
        )
        service.signal(signal.SIGTERM)
        assert service.ended() == 0
        assert manager.has_received("STOPPING=1")


def test_without_systemd_nothing_is_sent(tmp_path):
    """A missing or removed socket does not stop the service."""
    Notifier({}).send("READY=1")
    gone = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "1"})
    gone.send("READY=1")
    gone.ping(0)


@pytest.mark.parametrize(
    ("watchdog", "received"),
    [
        ({"WATCHDOG_USEC": "1"}, b"WATCHDOG=1"),
        ({"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "\u00b2"}, None),
        ({}, None),
    ],
    ids=["of this process", "of another process", "no number", "none"],
)
def test_a_ping_is_sent_if_systemd_watches_this_process(tmp_path, watchdog, received):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")} | watchdog).ping(0)
        try:
            found = manager.recv(100, socket.MSG_DONTWAIT)
        except BlockingIOError:
            found = None
    assert found == received


def test_an_abstract_socket_is_supported():
    """systemd uses `@name` in containers."""
    name = f"asr-service-test-{os.getpid()}"
    listening = Manager(f"\0{name}")
    Notifier({"NOTIFY_SOCKET": f"@{name}", "WATCHDOG_USEC": "1000000"}).ping(1.0)
    assert listening.has_received("WATCHDOG=1")
    listening.socket.close()


def test_children_do_not_inherit_the_variables(tmp_path: Path):
    """Otherwise Gunicorn would send READY too early, and workers could send messages."""
    environ = {"NOTIFY_SOCKET": str(tmp_path), "WATCHDOG_USEC": "1", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    Notifier(environ)
    assert environ == {"HOME": "/"}
