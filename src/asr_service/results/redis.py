"""Keeps results in Redis, for several machines. Redis limits the memory itself, and drops what is used least."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from asr_service.redis_client import open_redis
from asr_service.results.store import Claimed, ClaimOutcome, Found, Held, Lease, StoreFailed

if TYPE_CHECKING:
    import redis

# Each script is one step for all clients. A holder is the token and the note of its lease, with a space between them.
_CLAIM: Final = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'string' and kind ~= 'none' then redis.call('DEL', KEYS[1]) end
local value = redis.call('GET', KEYS[1])
if value then return {'found', value} end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {'claimed', ''} end
local holder = redis.pcall('GET', KEYS[2])
if redis.call('PTTL', KEYS[2]) < 0 then redis.call('PEXPIRE', KEYS[2], ARGV[2]) end
return {'held', type(holder) == 'string' and holder or ''}
"""
_RENEW: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0
"""


class RedisStore:
    """Implements `ResultStore`."""

    def __init__(self, url: str, *, setting: str, prefix: str, timeout_s: float) -> None:
        """Create a client, which connects when it is first used. Raises ConfigurationError, as `open_redis` does."""
        self._values = f"{prefix}:results:"
        self._leases = f"{prefix}:results:lease:"
        self._client: redis.Redis = open_redis(url, setting=setting, timeout_s=timeout_s, text=False)
        self._claim = self._client.register_script(_CLAIM)
        self._renew = self._client.register_script(_RENEW)
        self._release = self._client.register_script(_RELEASE)

    def load(self, key: str) -> bytes | None:
        import redis  # noqa: PLC0415  # an optional dependency

        with _failing():
            try:
                value = self._client.get(self._values + key)
            except redis.ResponseError:  # it is no string
                self._client.delete(self._values + key)
                return None
        return value.encode() if isinstance(value, str) else value  # the client returns bytes

    def claim(self, key: str, lease: Lease, duration_s: float) -> ClaimOutcome:
        with _failing():
            kind, content = self._claim(
                keys=[self._values + key, self._leases + lease.name], args=[_holder(lease), _milliseconds(duration_s)]
            )
        if kind == b"found":
            return Found(content)
        return Claimed() if kind == b"claimed" else Held(content.decode(errors="replace").partition(" ")[2])

    def renew(self, lease: Lease, duration_s: float) -> bool:
        with _failing():
            return bool(self._renew(keys=[self._leases + lease.name], args=[_holder(lease), _milliseconds(duration_s)]))

    def release(self, lease: Lease) -> None:
        with _failing():
            self._release(keys=[self._leases + lease.name], args=[_holder(lease)])

    def store(self, key: str, value: bytes, ttl_s: float) -> None:
        with _failing():
            self._client.set(self._values + key, value, px=_milliseconds(ttl_s))

    def delete(self, key: str) -> None:
        with _failing():
            self._client.delete(self._values + key)

    def sweep(self) -> None:
        """Do nothing: Redis does this itself."""

    def is_sweep_due(self) -> bool:
        return False

    def n_bytes(self) -> int:
        """Return the memory that Redis uses, for whatever purpose."""
        with _failing():
            return int(self._client.info("memory")["used_memory"])

    def server_warnings(self) -> Sequence[str]:
        """Return what is wrong with the server's settings for a cache."""
        with _failing():
            memory = self._client.info("memory")
        policy = memory.get("maxmemory_policy", "noeviction")
        if not memory.get("maxmemory"):
            return ["it has no maxmemory, so it may fill the machine's memory"]
        if not policy.startswith("allkeys"):
            return [f"maxmemory-policy is {policy}, which refuses new results when the memory is full"]
        return []

    def close(self) -> None:
        self._client.close()


def _holder(lease: Lease) -> str:
    return f"{lease.token} {lease.note}"


def _milliseconds(seconds: float) -> int:
    return max(round(seconds * 1000), 1)


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    import redis  # noqa: PLC0415  # an optional dependency

    try:
        yield
    except redis.RedisError as error:
        raise StoreFailed(str(error)) from error
