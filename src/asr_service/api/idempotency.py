"""One response for all requests with the same Idempotency-Key, within one slot. Used from the event loop only.

`results.outcomes` does the same over all slots, if there is a store that they share.

A scope is unknown, running or kept. It runs while its work does, with or without a client that waits. It is kept after
the work has ended, if the outcome is final: a response, or a refusal of the request's content.
"""

import asyncio
import hashlib
import json
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request

from asr_service import tasks
from asr_service.api.middleware.authentication import key_of
from asr_service.api.place import Place
from asr_service.api.upload import Upload
from asr_service.errors import MalformedRequest
from asr_service.results.outcomes import (
    HEADER,
    FinalRefusal,
    IdempotencyScope,
    RenderedResponse,
    final_refusal,
    require_same,
)

_VALUE: Final = re.compile(r"[\x21-\x7e]{1,255}")
_MAX_KEPT: Final = 10_000
_REFUSAL_BYTES: Final = 1024
"""The size that a kept RequestError counts as."""
_LINGER_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Reservation:
    """How a request relates to earlier work of its scope when it begins. By default there is none."""

    adds_work: bool = True
    """Whether the request will add work. If the work that it hopes to find has failed by then, it adds work too."""
    place: Place | None = None
    """The place of running work whose clients have left. The request that adopts the work holds it too."""


NEW_WORK: Final = Reservation()


@dataclass(slots=True, eq=False)
class _Running:
    digest: bytes
    place: Place
    task: asyncio.Task[RenderedResponse]
    n_waiting: int = 0
    abandonment: asyncio.TimerHandle | None = None
    """The timer that cancels the work. It was started when the last client left."""


@dataclass(frozen=True, slots=True)
class _Kept:
    digest: bytes
    outcome: RenderedResponse | FinalRefusal
    ended_at_s: float
    n_bytes: int


def scope_of(request: Request) -> IdempotencyScope | None:
    """Return the scope of the request's Idempotency-Key; None without one.

    Raises MalformedRequest: the header is invalid or appears twice.
    """
    values = request.headers.getlist(HEADER)
    if not values:
        return None
    if len(values) > 1 or not _VALUE.fullmatch(values[0]):
        raise MalformedRequest(f"{HEADER} must appear once and be 1 to 255 visible ASCII characters.", param=HEADER)
    key = key_of(request.scope)
    return IdempotencyScope(key.name if key else None, request.scope["path"], values[0])


def content_digest(upload: Upload) -> bytes:
    """Hash the fields, in any order, and the digest of the file."""
    return hashlib.blake2b(json.dumps(sorted(upload.fields)).encode() + upload.sha256, digest_size=32).digest()


class IdempotencyStore:
    """Runs the work of each scope once, and keeps final outcomes for a time."""

    def __init__(
        self,
        *,
        window_s: float,
        max_bytes: int,
        linger_s: float = _LINGER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Configure what is kept and for how long.

        `window_s` and `max_bytes` limit the outcomes that are kept. `linger_s` is how long work continues after its
        last client has disconnected, so that a retry finds it.
        """
        self._window_s = window_s
        self._max_bytes = max_bytes
        self._linger_s = linger_s
        self._clock = clock
        self._running: dict[IdempotencyScope, _Running] = {}
        self._kept: OrderedDict[IdempotencyScope, _Kept] = OrderedDict()  # the oldest first
        self._n_bytes = 0

    @contextmanager
    def reserve(self, scope: IdempotencyScope | None) -> Iterator[Reservation]:
        """Keep the scope's work running while a request for it is admitted and received."""
        self._forget_old()
        running = None if scope is None else self._running.get(scope)
        if scope is None or running is None:
            yield Reservation(adds_work=scope not in self._kept)
            return
        adopted = None if running.n_waiting else running.place
        with self._awaited(scope, running):
            yield Reservation(adds_work=False, place=adopted)

    async def get_or_run(
        self,
        scope: IdempotencyScope,
        digest: bytes,
        work: Callable[[], Coroutine[Any, Any, RenderedResponse]],
        place: Place,
    ) -> tuple[RenderedResponse, bool]:
        """Return the scope's response, and whether it was the response to another request. Runs `work` if it is new.

        A RequestError is kept like a response if an equal request would raise it too. Any other error is raised in
        every request that waits, and not kept. A client that leaves does not disturb the others. `place` is the
        request's; new work must hold it. Raises IdempotencyConflict: `digest` differs from the earlier request's.
        Raises what the work raises.
        """
        self._forget_old()
        kept = self._kept.get(scope)
        if kept is not None:
            require_same(kept.digest, digest)
            return _replayed(kept.outcome), True
        running = self._running.get(scope)
        is_replayed = running is not None
        if running is None:
            running = self._start(scope, digest, work(), place)
        require_same(running.digest, digest)
        with self._awaited(scope, running):
            response = await asyncio.shield(running.task)
            return response, is_replayed or response.is_replayed

    async def close(self) -> None:
        """Cancel the work that still runs."""
        await tasks.cancel(running.task for running in self._running.values())

    def _start(
        self, scope: IdempotencyScope, digest: bytes, work: Coroutine[Any, Any, RenderedResponse], place: Place
    ) -> _Running:
        running = _Running(digest, place, asyncio.create_task(work))
        self._running[scope] = running
        running.task.add_done_callback(lambda _: self._end(scope, running))
        return running

    @contextmanager
    def _awaited(self, scope: IdempotencyScope, running: _Running) -> Iterator[None]:
        running.n_waiting += 1
        if running.abandonment is not None:
            running.abandonment.cancel()
        try:
            yield
        finally:
            running.n_waiting -= 1
            if not running.n_waiting and not running.task.done():
                loop = asyncio.get_running_loop()
                running.abandonment = loop.call_later(self._linger_s, self._abandon, scope, running)

    def _abandon(self, scope: IdempotencyScope, running: _Running) -> None:
        if self._running.get(scope) is running:
            del self._running[scope]
            running.task.cancel()

    def _end(self, scope: IdempotencyScope, running: _Running) -> None:
        if self._running.get(scope) is running:
            del self._running[scope]
        if running.task.cancelled():
            return
        error = running.task.exception()
        if error is None:
            response = running.task.result()
            self._keep(scope, running.digest, response, len(response.body))
        elif refusal := final_refusal(error):
            self._keep(scope, running.digest, refusal, _REFUSAL_BYTES)

    def _keep(
        self, scope: IdempotencyScope, digest: bytes, outcome: RenderedResponse | FinalRefusal, n_bytes: int
    ) -> None:
        self._kept[scope] = _Kept(digest, outcome, self._clock(), n_bytes)
        self._n_bytes += n_bytes
        while self._n_bytes > self._max_bytes or len(self._kept) > _MAX_KEPT:
            self._forget_oldest()

    def _forget_old(self) -> None:
        since_s = self._clock() - self._window_s
        while self._kept and next(iter(self._kept.values())).ended_at_s <= since_s:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, kept = self._kept.popitem(last=False)
        self._n_bytes -= kept.n_bytes


def _replayed(outcome: RenderedResponse | FinalRefusal) -> RenderedResponse:
    if isinstance(outcome, FinalRefusal):
        raise outcome.error()
    return outcome
