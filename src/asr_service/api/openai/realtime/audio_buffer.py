"""The audio of `input_audio_buffer.append`: base64 in the session's format, to samples."""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asr_service.api.openai.realtime.schemas import ALaw, AudioFormat, MuLaw, Pcm
from asr_service.audio.telephony import G711_RATE, LiveAudioDecoder
from asr_service.errors import InvalidParameter

MAX_AUDIO_BYTES: Final = 15 * 1024**2
_THREAD_BYTES: Final = 256 * 1024
"""Base64 above this size is decoded in a thread: 15 MiB would block the event loop for some 30 ms."""


class AudioBuffer:
    """Decodes the audio of one session, piece by piece."""

    def __init__(self, audio_format: AudioFormat) -> None:
        self.audio_format = audio_format
        self._decode, bytes_per_s = _decoder(audio_format)
        self._piece_bytes = bytes_per_s
        """One second."""

    def end_part(self) -> None:
        """Begin a turn, or the audio after a `clear`, with a whole sample."""
        self._decode.end_part()

    async def samples(self, text: str) -> AsyncIterator[NDArray[np.float32]]:
        """Yield the samples of one event, at most a second at a time: float32 [n], 16 kHz mono.

        Raises InvalidParameter: the text is not base64, or too long. Then it has yielded nothing.
        """
        data = await asyncio.to_thread(_decoded, text) if len(text) > _THREAD_BYTES else _decoded(text)
        for start in range(0, len(data), self._piece_bytes):
            yield self._decode(data[start : start + self._piece_bytes])


def _decoder(audio_format: AudioFormat) -> tuple[LiveAudioDecoder, int]:
    """Return the decoder of a format, and the bytes of one second."""
    match audio_format:
        case Pcm(rate=rate):
            return LiveAudioDecoder("pcm16", rate), 2 * rate
        case MuLaw():
            return LiveAudioDecoder("ulaw"), G711_RATE
        case ALaw():
            return LiveAudioDecoder("alaw"), G711_RATE


def _decoded(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidParameter("The audio is not valid base64.", param="audio") from None
    if len(data) > MAX_AUDIO_BYTES:
        raise InvalidParameter(
            f"The audio of one event has {len(data)} bytes; the limit is {MAX_AUDIO_BYTES}. Send it in parts.",
            param="audio",
        )
    return data
