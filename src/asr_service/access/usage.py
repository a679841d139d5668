"""What each key uses, in all slots of a machine together, and whether it may use more."""

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from asr_service import metrics
from asr_service.access.allowance import TokenBucket
from asr_service.access.keys import Key
from asr_service.access.places import acquire_lease
from asr_service.access.usage_files import allowance_file
from asr_service.errors import AudioLimit, ConcurrencyLimit, Unavailable

log = structlog.get_logger(__name__)

_PLACE_AGAIN_S = 2.0
"""When a request of the same key may have ended: nobody knows."""


class Meter:
    """Counts what one recording takes of its key's allowance. Without a key, or a limit on it, nothing is kept."""

    def __init__(self, key: Key | None, allowance: TokenBucket | None, writer: ThreadPoolExecutor) -> None:
        self._key = key
        self._allowance = allowance
        self._writer = writer
        self._charged_s = 0.0

    def charge(self, audio_s: float) -> None:
        """So much more of the recording has been decoded. Returns at once: the file is written on a thread."""
        if self._key is not None:
            metrics.KEY_AUDIO_SECONDS.labels(self._key.name).inc(audio_s)
        self._charged_s += audio_s
        self._write(audio_s)

    def refund(self) -> None:
        """Through the service's own fault there is no answer, and it asks for the recording to be sent again."""
        charged_s, self._charged_s = self._charged_s, 0.0
        self._write(-charged_s)

    def _write(self, audio_s: float) -> None:
        if self._allowance is not None and audio_s:
            self._writer.submit(_charge, self._allowance, audio_s)


class KeyUsage:
    """The door for recordings: a key's limits, held together with the other slots by files in a directory."""

    def __init__(self, directory: Path | None) -> None:
        """Without a directory no limit can be held, and a key that has one is refused."""
        self._directory = directory
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="key-usage")

    def close(self) -> None:
        """Write what is still to be written."""
        self._writer.shutdown()

    @asynccontextmanager
    async def recording(
        self, key: Key | None, *, adds_work: bool = True, has_place: bool = False
    ) -> AsyncIterator[Meter]:
        """Let a recording of this key in, and hold its place. None is a caller without a key, who has no limits.

        One that adds no work need have nothing left of its allowance. `has_place`: another holds one for the same work.
        Raises ConcurrencyLimit, AudioLimit, and Unavailable where the files cannot be used.
        """
        if key is None or not key.limits:
            yield Meter(key, None, self._writer)
            return
        try:
            place = None if has_place else self._take_place(key)
        except OSError as error:
            raise _unusable(error) from error
        try:
            allowance = await self._open_allowance(key, asks=adds_work)
            yield Meter(key, allowance, self._writer)
        finally:
            if place is not None:
                os.close(place)

    def _take_place(self, key: Key) -> int | None:
        most = key.limits.concurrent_requests
        if most is None:
            return None
        place = acquire_lease(self._shared(), key.name, most)
        if place is None:
            metrics.KEY_LIMITED.labels(key.name, "requests").inc()
            raise ConcurrencyLimit(
                f"the key {key.name!r} has {most} requests open, which is its limit (concurrent_requests)",
                retry_after_s=_PLACE_AGAIN_S,
            )
        return place

    async def _open_allowance(self, key: Key, *, asks: bool) -> TokenBucket | None:
        per_minute = key.limits.audio_s_per_minute
        if per_minute is None:
            return None
        allowance = TokenBucket(allowance_file(self._shared(), key.name), per_minute)
        if not asks:
            return allowance
        try:
            wait_s = await asyncio.get_running_loop().run_in_executor(self._writer, allowance.wait_s)
        except OSError as error:
            raise _unusable(error) from error
        if wait_s > 0:
            metrics.KEY_LIMITED.labels(key.name, "audio").inc()
            raise AudioLimit(
                f"the key {key.name!r} has used its {per_minute:g} seconds of audio a minute (audio_s_per_minute)",
                retry_after_s=wait_s,
            )
        return allowance

    def _shared(self) -> Path:
        if self._directory is None:
            raise Unavailable("the key has limits, and the service no ASR_KEY_USAGE_DIR to keep them in")
        return self._directory


def _charge(allowance: TokenBucket, audio_s: float) -> None:
    try:
        allowance.charge(audio_s)
    except OSError:
        log.exception("a key's use of audio could not be kept")


def _unusable(error: OSError) -> Unavailable:
    log.error("a key's use cannot be kept", error=repr(error))
    return Unavailable("the service cannot keep what keys use at the moment; try again later")
