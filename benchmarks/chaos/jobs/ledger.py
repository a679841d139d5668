"""Clients that submit jobs, and a record of what they were answered."""

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.common.cluster import Cluster
from benchmarks.common.sender import GOOD, Outcome

NO_RESPONSE = "no response"
LONGEST_REFUSAL_S = 30.0
"""A client must not wait longer for a refusal."""

_ACCEPTED = 202
_PAUSE_S = 0.5
_GIVE_UP_S = 120.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A submission that was not accepted."""

    kind: str
    """The status and the error code, or that there was no response."""
    took_s: float
    has_retry_after: bool


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job that was accepted."""

    key: str
    """The Idempotency-Key of the submission. It is repeated until it is accepted."""
    job_id: str
    recording: Path


class Ledger:
    """Submits jobs, and keeps every answer. Threads may share it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lock = threading.Lock()
        self.refusals: list[Refusal] = []
        self.accepted: list[Accepted] = []

    def submit(self, recording: Path, key: str, **fields: str) -> Outcome:
        """Submit a recording until it is accepted, for at most two minutes, and then once more with the same key."""
        sent_s = time.time()
        while not self._try(recording, key, fields):
            if time.time() > sent_s + _GIVE_UP_S:
                return Outcome(key, "not accepted", sent_s, time.time())
            time.sleep(_PAUSE_S)
        self._try(recording, key, fields)  # a client that has lost its answer; it must get the same job
        return Outcome(key, GOOD, sent_s, time.time())

    def _try(self, recording: Path, key: str, fields: Mapping[str, str]) -> bool:
        began = time.monotonic()
        try:
            answer = self._cluster.submit(recording, key=key, **fields)
        except httpx.TransportError as error:
            self._note(Refusal(f"{NO_RESPONSE}: {type(error).__name__}", time.monotonic() - began, False))
            return False
        if answer.status_code == _ACCEPTED:
            with self._lock:
                self.accepted.append(Accepted(key, answer.json()["id"], recording))
            return True
        self._note(Refusal(_kind(answer), time.monotonic() - began, "retry-after" in answer.headers))
        return False

    def _note(self, refusal: Refusal) -> None:
        with self._lock:
            self.refusals.append(refusal)


def _kind(answer: httpx.Response) -> str:
    try:
        return f"{answer.status_code} {answer.json()['error']['code']}"
    except (json.JSONDecodeError, KeyError, TypeError):
        return f"{answer.status_code} without an error code"
