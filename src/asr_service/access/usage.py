"""The limits of API keys, enforced across all slots of a machine."""

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import structlog

from asr_service import metrics
from asr_service.access.keys import Key
from asr_service.access.token_bucket import TokenBucket
from asr_service.access.usage_directory import acquire_lease, bucket_file
from asr_service.errors import AudioLimit, ConcurrencyLimit, Unavailable

log = structlog.get_logger(__name__)

_LEASE_RETRY_S = 2.0
"""The Retry-After of a key whose leases are all taken. When one of its requests will end is not known."""


class Meter:
    """Charges one recording's audio to its key. Without a key, or without a limit on audio, it stores nothing."""

    def __init__(self, key: Key | None, bucket: TokenBucket | None, writer: ThreadPoolExecutor) -> None:
        self._key = key
        self._bucket = bucket
        self._writer = writer
        self._charged_s = 0.0

    def charge(self, audio_s: float) -> None:
        """Charge seconds that were just decoded. Returns at once: a thread writes the file."""
        if self._key is not None:
            metrics.KEY_AUDIO_SECONDS.labels(self._key.name).inc(audio_s)
        self._charged_s += audio_s
        self._write(audio_s)

    def refund(self) -> None:
        """Return every second that was charged. For a failure of the service that asks the client to retry."""
        charged_s, self._charged_s = self._charged_s, 0.0
        self._write(-charged_s)

    def _write(self, audio_s: float) -> None:
        if self._bucket is not None and audio_s:
            self._writer.submit(_charge, self._bucket, audio_s)


class KeyUsage:
    """Enforces the limits of keys. Files in a directory share the counts with other slots."""

    def __init__(self, directory: Path | None) -> None:
        """Without a directory, a key that has limits is refused."""
        self._directory = directory
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="key-usage")

    def close(self) -> None:
        """Wait until every charge is written."""
        self._writer.shutdown()

    @contextmanager
    def lease(self, key: Key | None) -> Iterator[None]:
        """Hold one of the key's leases. A caller without a key has no limits.

        Raises ConcurrencyLimit: all are taken. Raises Unavailable: the directory cannot be used.
        """
        limit = None if key is None else key.limits.concurrent_requests
        if key is None or limit is None:
            yield
            return
        lease = self._acquire_lease(key, limit)
        try:
            yield
        finally:
            os.close(lease)

    async def check_audio(self, key: Key | None) -> None:
        """Check that the key has audio left. Raises AudioLimit: it has none. Raises Unavailable, as `lease` does."""
        bucket = self._bucket(key)
        if key is None or bucket is None:
            return
        try:
            wait_s = await asyncio.get_running_loop().run_in_executor(self._writer, bucket.wait_s)
        except OSError as error:
            raise _unusable(error) from error
        if wait_s > 0:
            metrics.KEY_LIMITED.labels(key.name, "audio").inc()
            raise AudioLimit(
                f"API key {key.name!r} has used its {bucket.audio_s_per_minute:g} seconds of audio a minute "
                "(audio_s_per_minute).",
                retry_after_s=wait_s,
            )

    def charge(self, key: Key, audio_s: float) -> None:
        """Charge a key for audio of a request that has ended. Returns at once."""
        bucket = None if self._directory is None else self._bucket(key)
        Meter(key, bucket, self._writer).charge(audio_s)

    def meter(self, key: Key | None) -> Meter:
        """Return a meter for one recording. Raises Unavailable, as `lease` does."""
        return Meter(key, self._bucket(key), self._writer)

    def _acquire_lease(self, key: Key, limit: int) -> int:
        try:
            lease = acquire_lease(self._required_directory(), key.name, limit)
        except OSError as error:
            raise _unusable(error) from error
        if lease is None:
            metrics.KEY_LIMITED.labels(key.name, "requests").inc()
            raise ConcurrencyLimit(
                f"API key {key.name!r} has {limit} requests open, which is its limit (concurrent_requests).",
                retry_after_s=_LEASE_RETRY_S,
            )
        return lease

    def _bucket(self, key: Key | None) -> TokenBucket | None:
        per_minute = None if key is None else key.limits.audio_s_per_minute
        if key is None or per_minute is None:
            return None
        return TokenBucket(bucket_file(self._required_directory(), key.name), per_minute)

    def _required_directory(self) -> Path:
        if self._directory is None:
            raise Unavailable("ASR_KEY_USAGE_DIR must be set because this API key has usage limits.")
        return self._directory


def _charge(bucket: TokenBucket, audio_s: float) -> None:
    try:
        bucket.charge(audio_s)
    except OSError:
        log.exception("the audio usage of an API key could not be stored")


def _unusable(error: OSError) -> Unavailable:
    log.error("the usage of API keys cannot be stored", error=repr(error))
    return Unavailable("The service cannot store the usage of API keys at the moment. Try again later.")
