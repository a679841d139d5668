"""One answer for every request that carries the same Idempotency-Key, in one slot. Used from the event loop alone."""

import asyncio
import hashlib
import json
import os
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from starlette.requests import Request

from asr_service import tasks
from asr_service.access.replay import ReplayState
from asr_service.api.middleware.authentication import caller_of
from asr_service.api.upload import Upload
from asr_service.errors import IdempotencyConflict, MalformedRequest, RequestError

HEADER: Final = "Idempotency-Key"
_VALUE: Final = re.compile(r"[\x21-\x7e]{1,255}")
_MOST_KEPT: Final = 10_000
_REFUSAL_BYTES: Final = 1024
_READ_BYTES: Final = 1024 * 1024
_LINGER_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class RenderedResponse:
    """An answer that is whole, and may be sent more than once."""

    body: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class IdempotencyScope:
    """What a request is known by when it comes again: no caller meets another's answer, nor one of another address."""

    caller: str | None
    path: str
    value: str


@dataclass(slots=True, eq=False)
class _Running:
    digest: bytes
    task: asyncio.Task[RenderedResponse]
    n_waiting: int = 0
    dropping: asyncio.TimerHandle | None = None
    """Since nobody waits any more."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """An error without the frames that it was raised in, which would hold their request."""

    kind: type[RequestError]
    message: str
    param: str | None


@dataclass(frozen=True, slots=True)
class _Kept:
    digest: bytes
    outcome: RenderedResponse | _Refusal
    ended_at_s: float
    n_bytes: int


def scope_of(request: Request) -> IdempotencyScope | None:
    """The request's Idempotency-Key, and whose and for what it is; None without one. Raises MalformedRequest."""
    given = request.headers.getlist(HEADER)
    if not given:
        return None
    if len(given) > 1 or not _VALUE.fullmatch(given[0]):
        raise MalformedRequest(f"{HEADER} is given once, 1 to 255 visible ASCII characters", param=HEADER)
    caller = caller_of(request.scope)
    return IdempotencyScope(caller.name if caller else None, request.url.path, given[0])


def content_digest(upload: Upload) -> bytes:
    """Tell one request from another by its file's bytes and its fields, whatever their order. Reads the file."""
    told = hashlib.blake2b(json.dumps(sorted(upload.fields)).encode(), digest_size=32)
    descriptor, at = _descriptor(upload.file), 0
    while part := os.pread(descriptor, _READ_BYTES, at):
        told.update(part)
        at += len(part)
    return told.digest()


def _descriptor(file: BinaryIO) -> int:
    file.flush()
    return file.fileno()


class IdempotencyStore:
    """Those under way and those that have ended, for as long and as far as they are kept."""

    def __init__(
        self,
        *,
        window_s: float,
        max_bytes: int,
        linger_s: float = _LINGER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`linger_s` is how long work goes on that nobody waits for: a retry may be on its way."""
        self._window_s = window_s
        self._max_bytes = max_bytes
        self._linger_s = linger_s
        self._clock = clock
        self._running: dict[IdempotencyScope, _Running] = {}
        self._kept: OrderedDict[IdempotencyScope, _Kept] = OrderedDict()  # the oldest first
        self._n_bytes = 0

    @contextmanager
    def reserve(self, name: IdempotencyScope | None) -> Iterator[ReplayState]:
        """While a request of this name is let in and received, nothing is dropped that it would find."""
        self._forget_old()
        running = None if name is None else self._running.get(name)
        if name is None or running is None:
            yield ReplayState.ATTACHED if name in self._kept else ReplayState.NEW
            return
        again = ReplayState.ATTACHED if running.n_waiting else ReplayState.ADOPTED
        with self._awaited(name, running):
            yield again

    async def get_or_run(
        self, name: IdempotencyScope, digest: bytes, begin: Callable[[], Coroutine[Any, Any, RenderedResponse]]
    ) -> tuple[RenderedResponse, bool]:
        """The name's answer, and whether it was another request's already. `begin` starts the work, where it is new.

        A RequestError is an answer like any other; another failure is shared by those who wait for it, and forgotten.
        Leaving costs the others nothing. Raises IdempotencyConflict, and what the work raises.
        """
        self._forget_old()
        kept = self._kept.get(name)
        if kept is not None:
            _require_same(kept.digest, digest)
            return _replayed(kept.outcome), True
        running = self._running.get(name)
        joins = running is not None
        if running is None:
            running = self._begin(name, digest, begin())
        _require_same(running.digest, digest)
        with self._awaited(name, running):
            return await asyncio.shield(running.task), joins

    async def close(self) -> None:
        """Drop what nobody waits for any more."""
        await tasks.cancel(running.task for running in self._running.values())

    def _begin(self, name: IdempotencyScope, digest: bytes, work: Coroutine[Any, Any, RenderedResponse]) -> _Running:
        running = _Running(digest, asyncio.create_task(work))
        self._running[name] = running
        running.task.add_done_callback(lambda _: self._end(name, running))
        return running

    @contextmanager
    def _awaited(self, name: IdempotencyScope, running: _Running) -> Iterator[None]:
        running.n_waiting += 1
        if running.dropping is not None:
            running.dropping.cancel()
        try:
            yield
        finally:
            running.n_waiting -= 1
            if not running.n_waiting and not running.task.done():
                loop = asyncio.get_running_loop()
                running.dropping = loop.call_later(self._linger_s, self._abandon, name, running)

    def _abandon(self, name: IdempotencyScope, running: _Running) -> None:
        if self._running.get(name) is running:
            del self._running[name]
            running.task.cancel()

    def _end(self, name: IdempotencyScope, running: _Running) -> None:
        if self._running.get(name) is running:
            del self._running[name]
        if running.task.cancelled():
            return
        error = running.task.exception()
        if error is None:
            answer = running.task.result()
            self._keep(name, running.digest, answer, len(answer.body))
        elif isinstance(error, RequestError):
            self._keep(name, running.digest, _Refusal(type(error), error.message, error.param), _REFUSAL_BYTES)

    def _keep(self, name: IdempotencyScope, digest: bytes, outcome: RenderedResponse | _Refusal, n_bytes: int) -> None:
        self._kept[name] = _Kept(digest, outcome, self._clock(), n_bytes)
        self._n_bytes += n_bytes
        while self._n_bytes > self._max_bytes or len(self._kept) > _MOST_KEPT:
            self._forget_oldest()

    def _forget_old(self) -> None:
        since_s = self._clock() - self._window_s
        while self._kept and next(iter(self._kept.values())).ended_at_s <= since_s:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, kept = self._kept.popitem(last=False)
        self._n_bytes -= kept.n_bytes


def _require_same(was: bytes, digest: bytes) -> None:
    if was != digest:
        raise IdempotencyConflict(
            f"this {HEADER} came before with another recording or other fields; use a new one for a new request",
            param=HEADER,
        )


def _replayed(outcome: RenderedResponse | _Refusal) -> RenderedResponse:
    if isinstance(outcome, _Refusal):
        raise outcome.kind(outcome.message, param=outcome.param)
    return outcome
