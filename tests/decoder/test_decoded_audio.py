"""Frames from a compromised child."""

import asyncio
import struct
from typing import Any

import pytest

from asr_service.audio import SAMPLE_RATE
from asr_service.decoder.permits import DecodePermits
from asr_service.decoder.pool import DecodedAudio, DecodeLimits
from asr_service.errors import AudioTooLong, UndecodableAudio


class CompromisedChild:
    """A child that sends arbitrary frames."""

    pid = 1

    def __init__(self, *frames: tuple[bytes, bytes]) -> None:
        self._frames = iter(frames)

    async def receive(self) -> tuple[bytes, bytes]:
        return next(self._frames)


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        pytest.param([(b"S", bytes(64_000))] * 3, AudioTooLong, id="endless-samples"),
        pytest.param([(b"S", bytes(64)), (b"O", b"{}")], UndecodableAudio, id="invalid-outcome"),
        pytest.param([(b"S", bytes(64)), (b"O", b"[" * 60_000)], UndecodableAudio, id="deeply-nested-outcome"),
        pytest.param(
            [(b"O", b'{"verdict": "unsupported", "message": "\\ud800", "warnings": [], "lost_s": 0}')],
            UndecodableAudio,
            id="half-a-surrogate-pair",
        ),
        pytest.param([(b"S", b"")], UndecodableAudio, id="no-samples"),
        pytest.param([(b"S", b"\0")], UndecodableAudio, id="half-a-sample"),
        pytest.param([(b"L", struct.pack("<d", 1))] * 2, UndecodableAudio, id="two-durations"),
        pytest.param([(b"R", b"")], UndecodableAudio, id="unknown-kind"),
        pytest.param([(b"L", bytes(4))], UndecodableAudio, id="short-duration"),
        pytest.param([(b"L", struct.pack("<d", float("nan")))], UndecodableAudio, id="nan-duration"),
    ],
)
def test_a_compromised_child_fails_only_its_own_request(frames, error):
    """Every frame is checked: an invalid one is an error of that file, on this read and on every later one."""

    async def start() -> Any:
        return CompromisedChild(*frames)

    audio = DecodedAudio(start, DecodePermits(1), DecodeLimits(max_audio_s=5))
    for _ in range(2):
        with pytest.raises(error):
            asyncio.run(audio.read(10 * SAMPLE_RATE))
