"""Frames from a compromised child."""

import asyncio
import struct
from typing import Any

import pytest
from structlog.testing import capture_logs

from asr_service import metrics
from asr_service.audio import SAMPLE_RATE
from asr_service.decoder.child import ChildFailed, ChildInterrupted
from asr_service.decoder.decoded_audio import SharedLimits
from asr_service.decoder.memory import MemoryBudget
from asr_service.decoder.permits import DecodePermits
from asr_service.decoder.pool import DecodedAudio, DecodeLimits
from asr_service.decoder.protocol import MAX_PAYLOAD_BYTES, DecodeOutcome, gap_payload
from asr_service.errors import AudioTooLong, DecoderFailed, Unavailable, UndecodableAudio


class CompromisedChild:
    """A child that sends arbitrary frames."""

    pid = 0
    shared_bytes = 0
    n_received = 0
    cpu_s = 0.0

    def __init__(self, *frames: tuple[bytes, bytes]) -> None:
        self._frames = iter(frames)

    async def receive(self, until_s: float) -> tuple[bytes, bytes] | None:
        if frame := next(self._frames, None):
            return frame
        await asyncio.sleep(max(until_s - asyncio.get_running_loop().time(), 0))
        self.cpu_s += 0.05
        return None

    def pause(self) -> None: ...
    def resume(self) -> None: ...


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        pytest.param([(b"S", bytes(MAX_PAYLOAD_BYTES))] * 3, AudioTooLong, id="endless-samples"),
        pytest.param([(b"S", bytes(64)), (b"O", b"{}")], UndecodableAudio, id="invalid-outcome"),
        pytest.param([(b"S", bytes(64)), (b"O", b"[" * 60_000)], UndecodableAudio, id="deeply-nested-outcome"),
        pytest.param(
            [(b"O", b'{"verdict": "unsupported", "message": "\\ud800", "warnings": []}')],
            UndecodableAudio,
            id="half-a-surrogate-pair",
        ),
        pytest.param([(b"S", b"")], UndecodableAudio, id="no-samples"),
        pytest.param([(b"S", b"\0")], UndecodableAudio, id="half-a-sample"),
        pytest.param([(b"L", struct.pack("<d", 1))] * 2, UndecodableAudio, id="two-durations"),
        pytest.param([(b"R", b"")], UndecodableAudio, id="unknown-kind"),
        pytest.param([(b"X", DecodeOutcome("decoded").to_bytes())], UndecodableAudio, id="outcome-of-unknown-kind"),
        pytest.param([(b"L", bytes(4))], UndecodableAudio, id="short-duration"),
        pytest.param([(b"L", struct.pack("<d", float("nan")))], UndecodableAudio, id="nan-duration"),
        pytest.param([(b"S", bytes(2))] * 2, UndecodableAudio, id="tiny-frames"),
        pytest.param([(b"G", gap_payload(10))] * 2, UndecodableAudio, id="two-gaps-in-a-row"),
        pytest.param(
            [(b"G", gap_payload(10)), (b"S", bytes(64)), (b"G", gap_payload(10))],
            UndecodableAudio,
            id="a-gap-after-a-few-samples",
        ),
        pytest.param([(b"G", gap_payload(0))], UndecodableAudio, id="a-gap-of-nothing"),
        pytest.param([(b"G", gap_payload(2**63))], UndecodableAudio, id="a-gap-of-an-age"),
        pytest.param([(b"G", b"")], UndecodableAudio, id="half-a-gap"),
    ],
)
def test_a_compromised_child_fails_only_its_own_request(frames, error):
    """Every frame is checked: an invalid one is an error of that file, on this read and on every later one."""

    async def start() -> Any:
        return CompromisedChild(*frames)

    audio = DecodedAudio(start, SharedLimits(DecodePermits(1), MemoryBudget(2**30)), DecodeLimits(max_audio_s=5))
    for _ in range(2):
        with pytest.raises(error, match=r"internal decoder error|longer than its limit"):  # and not that it is slow
            asyncio.run(audio.read(10 * SAMPLE_RATE))


def test_a_child_that_computes_without_end_is_the_files_fault():
    """It sends nothing for `stall_timeout_s`, although it uses processor time."""

    async def start() -> Any:
        return CompromisedChild()

    shared = SharedLimits(DecodePermits(1), MemoryBudget(2**30))
    audio = DecodedAudio(start, shared, DecodeLimits(max_audio_s=5, stall_timeout_s=0.3))
    with pytest.raises(UndecodableAudio, match="no progress"):
        asyncio.run(audio.read(10))


@pytest.mark.parametrize(
    ("failure", "error", "reason"),
    [
        (ChildFailed("Traceback ...\nKeyError: 'x'"), DecoderFailed, "bug"),
        (ChildInterrupted("killed"), Unavailable, "interrupted"),
    ],
)
def test_a_failure_of_the_service_is_not_the_files_fault(failure, error, reason):
    """The client gets an error of the service, the metric counts it, and the log has the traceback."""

    async def start() -> Any:
        raise failure

    audio = DecodedAudio(start, SharedLimits(DecodePermits(1), MemoryBudget(2**30)), DecodeLimits(max_audio_s=5))
    counter = metrics.DECODER_FAILURES.labels(reason)
    before = counter._value.get()
    with capture_logs() as logs, pytest.raises(error):
        asyncio.run(audio.read(10))
    assert counter._value.get() == before + 1
    assert str(failure) in (logs[0].get("traceback"), logs[0].get("reason"))
