"""API keys across the slots of a real service: limits survive killed workers, and SIGHUP reads the keys again."""

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from api.live import ALL, tone
from asr_service.access.keys import KeyLimits, entry, new_secret
from serving.harness import Service, running
from waiting import until

ALICE, OLD, NEW = new_secret(), new_secret(), new_secret()
ONE_AT_A_TIME = entry("alice", ALICE, KeyLimits(concurrent_requests=1))


@dataclass(frozen=True)
class Keyed:
    """Two slots that require API keys."""

    service: Service
    keys: Path

    def status(self, slot: int, secret: str) -> int:
        """Return the status of a short request."""
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(self.service.socket(slot)))) as client:
            headers, files = {"x-api-key": secret}, {"file": tone(0.1)}
            return client.post("http://slot/transcribe", headers=headers, files=files, data=ALL).status_code

    @contextmanager
    def half_sent(self, slot: int, secret: str) -> Iterator[None]:
        """Keep a request open until the context ends."""
        head = f"POST /transcribe HTTP/1.1\r\nHost: a\r\nX-API-Key: {secret}\r\nContent-Type: audio/wav\r\n"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.service.socket(slot)))
            client.sendall(f"{head}Content-Length: 99999\r\n\r\nRIFF".encode())
            yield

    def holder(self) -> int | None:
        """Return the worker that holds a lease."""
        return next((pid for pid in self.service.workers() if _has_lease(pid)), None)

    def settled(self) -> None:
        """Wait until both slots are ready."""
        for slot in (0, 1):
            until(self.service.socket(slot).exists, what="the slot")


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keyed")
    keys = folder / "keys"
    keys.write_text(f"{ONE_AT_A_TIME}\n{entry('old', OLD)}\n")
    with running(folder / "s", ASR_DEVICES="cpu,cpu", ASR_API_KEYS_FILE=str(keys), FAKE_MODEL="0") as service:
        yield Keyed(service, keys)


def test_slots_share_leases_and_a_kill_frees_them(keyed):
    """With a limit of one, an open request in one slot blocks the other slot, until SIGKILL ends its worker."""
    keyed.settled()
    with keyed.half_sent(0, ALICE):
        holder = until(keyed.holder, what="the first request")
        assert keyed.status(1, ALICE) == 429
        assert keyed.status(1, OLD) == 200
        keyed.service.signal(signal.SIGKILL, holder)
        until(lambda: keyed.status(1, ALICE) == 200, what="the place")


def test_a_reload_reads_the_keys_and_invalid_keys_stop_it(keyed):
    """A reload removes one key and adds another. With an invalid file the workers stay."""
    keyed.settled()
    before = keyed.service.workers()
    keyed.keys.write_text("a-plain-key-of-more-than-thirty-two-letters")
    keyed.service.signal(signal.SIGHUP)
    until(lambda: keyed.service.lines("Reload refused: the API keys are invalid."), what="the refusal")
    keyed.keys.write_text(f"{ONE_AT_A_TIME}\n{entry('new', NEW)}\n")
    assert keyed.service.workers() == before
    assert [keyed.status(slot, OLD) for slot in (0, 1)] == [200, 200]
    keyed.service.signal(signal.SIGHUP)
    until(lambda: keyed.service.lines("reload complete"), what="the reload")
    assert [keyed.status(slot, OLD) for slot in (0, 1)] == [401, 401]
    assert [keyed.status(slot, NEW) for slot in (0, 1)] == [200, 200]
    assert "a-plain-key" not in keyed.service.text()


def _has_lease(pid: int) -> bool:
    return any(file.path.endswith(".lease") for file in psutil.Process(pid).open_files())
