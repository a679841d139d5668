"""What is wrong with a Redis that keeps jobs."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from asr_service.jobs.times import MAX_CLOCK_SKEW_S

if TYPE_CHECKING:
    import redis


def server_warnings(client: "redis.Redis") -> Sequence[str]:
    """Return the reasons why jobs may be lost or run twice. Raises redis.RedisError: the server does not answer."""
    memory, persistence = client.info("memory"), client.info("persistence")
    found = []
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        found.append(f"maxmemory-policy is {policy}, which deletes records when the memory is full; set noeviction")
    if not persistence.get("aof_enabled"):
        found.append("it has no append-only file, so a restart loses jobs; set appendonly yes")
    skew_s = clock_skew_s(client)
    if abs(skew_s) > MAX_CLOCK_SKEW_S:
        found.append(
            f"its clock differs from this machine's by {abs(skew_s):.0f} s, so leases may lapse too early; synchronize "
            "the clocks of all machines (NTP)"
        )
    return found


def clock_skew_s(client: "redis.Redis") -> float:
    """Return how far this machine's clock is ahead of the server's. Raises redis.RedisError: it does not answer."""
    before, (seconds, microseconds), after = time.time(), client.time(), time.time()
    return float((before + after) / 2 - seconds - microseconds / 1e6)
