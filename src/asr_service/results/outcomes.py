"""Answers by Idempotency-Key, for all slots and machines that share a store of results."""

import asyncio
import contextlib
import hashlib
import json
import zlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import structlog

from asr_service import metrics
from asr_service.errors import IdempotencyConflict, KeyLimitReached, RequestError
from asr_service.results.computations import Computations
from asr_service.results.guarded import GuardedStore
from asr_service.results.store import StoreFailed

log = structlog.get_logger(__name__)

HEADER: Final = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class RenderedResponse:
    """A complete response, which can be sent more than once."""

    body: bytes
    media_type: str
    warnings: tuple[str, ...] = ()
    """Sentences about the recording, for a header."""
    is_replayed: bool = False
    """Whether another slot made it for an earlier request."""


@dataclass(frozen=True, slots=True)
class IdempotencyScope:
    """What identifies a repeated request. API keys never share a response, nor do two paths."""

    api_key: str | None
    """The name of the API key; None without one."""
    path: str
    value: str
    """The value of the Idempotency-Key header."""


@dataclass(frozen=True, slots=True)
class FinalRefusal:
    """A RequestError without its traceback, whose frames would keep the request in memory."""

    kind: type[RequestError]
    message: str
    param: str | None

    def error(self) -> RequestError:
        return self.kind(self.message, param=self.param)


def final_refusal(error: BaseException) -> FinalRefusal | None:
    """Return the refusal of the request's content; None if an equal request may have another outcome."""
    if isinstance(error, RequestError) and not isinstance(error, KeyLimitReached | IdempotencyConflict):
        return FinalRefusal(type(error), error.message, error.param)
    return None


def require_same(was: bytes, digest: bytes) -> None:
    """Raise IdempotencyConflict if the digests of an earlier request and of this one differ."""
    if was != digest:
        raise idempotency_conflict()


def idempotency_conflict() -> IdempotencyConflict:
    return IdempotencyConflict(
        f"This {HEADER} was used with another recording or other fields. Use a new one for a new request.", param=HEADER
    )


class SharedOutcomes:
    """Runs the work of a scope once over all slots, and keeps final outcomes. If the store fails, the work is done."""

    def __init__(self, store: GuardedStore, computations: Computations, window_s: float) -> None:
        self._store = store
        self._computations = computations
        self._window_s = window_s

    async def get_or_run(
        self, scope: IdempotencyScope, digest: bytes, work: Callable[[], Awaitable[RenderedResponse]]
    ) -> RenderedResponse:
        """Return the scope's response. Runs `work` if it is new; while another slot runs it, waits for that.

        Raises IdempotencyConflict: `digest` differs from the earlier request's. Raises what the work raises or, if it
        was a final refusal, what it raised.
        """
        key = _key(scope)
        turn = self._computations.turn(
            key, note=digest.hex(), on_held=lambda note: require_same(_digest_in(note) or digest, digest)
        )
        async with turn as value:
            kept = None if value is None else await asyncio.to_thread(_decode, value)
            if kept is None:
                return await self._run(key, digest, work)
        require_same(kept.digest, digest)
        if isinstance(kept.outcome, FinalRefusal):
            raise kept.outcome.error()
        return kept.outcome

    async def _run(self, key: str, digest: bytes, work: Callable[[], Awaitable[RenderedResponse]]) -> RenderedResponse:
        try:
            response = await work()
        except RequestError as error:
            if refusal := final_refusal(error):
                await self._keep(key, _Kept(digest, refusal))
            raise
        await self._keep(key, _Kept(digest, response))
        return response

    async def _keep(self, key: str, kept: "_Kept") -> None:
        with contextlib.suppress(StoreFailed):  # then the slot alone keeps it
            await self._store.store(key, await asyncio.to_thread(_encode, kept), self._window_s)


@dataclass(frozen=True, slots=True)
class _Kept:
    digest: bytes
    outcome: RenderedResponse | FinalRefusal


def _digest_in(note: str) -> bytes | None:
    """Return the digest of a request that runs; None if its lease is damaged."""
    try:
        return bytes.fromhex(note)
    except ValueError:
        return None


def _key(scope: IdempotencyScope) -> str:
    """Return a hash, because the header may hold a name or a number of a person."""
    return f"i-{hashlib.sha256(json.dumps([scope.api_key, scope.path, scope.value]).encode()).hexdigest()}"


def _encode(kept: _Kept) -> bytes:
    """Write a line of JSON and then the body, compressed."""
    fields: dict[str, Any] = {"digest": kept.digest.hex()}
    body = b""
    match kept.outcome:
        case FinalRefusal() as refusal:
            fields |= {"code": refusal.kind.code, "message": refusal.message, "param": refusal.param}
        case RenderedResponse() as response:
            fields |= {"media_type": response.media_type, "warnings": response.warnings}
            body = response.body
    return zlib.compress(json.dumps(fields).encode() + b"\n" + body)


def _decode(value: bytes) -> _Kept | None:
    """Return what was kept; None if it cannot be read."""
    try:
        line, _, body = zlib.decompress(value).partition(b"\n")
        fields = json.loads(line)
        digest = bytes.fromhex(fields["digest"])
        if "code" in fields:
            refusal = FinalRefusal(_REFUSALS[fields["code"]], fields["message"], fields["param"])
            return _Kept(digest, refusal)
        return _Kept(digest, RenderedResponse(body, fields["media_type"], tuple(fields["warnings"]), is_replayed=True))
    except (zlib.error, ValueError, KeyError, TypeError) as error:
        metrics.CACHE_ERRORS.labels("unreadable").inc()
        log.warning("a stored answer cannot be read", reason=repr(error))
        return None


def _refusals(kind: type[RequestError] = RequestError) -> Iterator[type[RequestError]]:
    yield kind
    for each in kind.__subclasses__():
        if not issubclass(each, KeyLimitReached):
            yield from _refusals(each)


_REFUSALS: Final = {kind.code: kind for kind in _refusals()}
