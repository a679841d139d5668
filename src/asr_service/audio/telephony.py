"""Sound as live clients send it: linear 16 bit or G.711, as bytes in pieces of any size, to samples of 16 kHz."""

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE
from asr_service.audio.resampling import StreamResampler

AudioEncoding = Literal["pcm16", "ulaw", "alaw"]
"""Signed 16-bit little-endian samples, or one byte for each sample by ITU-T G.711."""

G711_RATE: Final = 8000
_FULL_SCALE: Final = 32_768.0
_SIGN_BIT: Final = 0x80


class LiveAudioDecoder:
    """Decodes the mono sound of one live session, piece by piece."""

    def __init__(self, encoding: AudioEncoding, rate: int = G711_RATE) -> None:
        """Create a decoder. `rate` is the sampling rate of pcm16, in Hz; G.711 has 8000 Hz."""
        self._table = None if encoding == "pcm16" else _G711[encoding]
        self._resample = None if rate == SAMPLE_RATE else StreamResampler(rate)
        self._odd_byte = b""

    def end_part(self) -> None:
        """Forget half a sample, which the next part of the sound would be shifted by."""
        self._odd_byte = b""

    def __call__(self, data: bytes) -> NDArray[np.float32]:
        """Return the next samples: float32 [n], 16 kHz mono, from -1 to 1. A sample may be cut by the pieces' ends."""
        if self._table is not None:
            samples = self._table[np.frombuffer(data, np.uint8)]
        else:
            data = self._odd_byte + data
            whole = len(data) // 2 * 2
            self._odd_byte = data[whole:]
            samples = np.frombuffer(data[:whole], "<i2").astype(np.float32) / np.float32(_FULL_SCALE)
        return samples if self._resample is None else self._resample(samples)


def _ulaw_table() -> NDArray[np.float32]:
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    size = (((mantissa << 3) + 132) << exponent) - 132
    return _signed(size, positive=code < _SIGN_BIT)


def _alaw_table() -> NDArray[np.float32]:
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    size = np.where(exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 264) << np.maximum(exponent - 1, 0))
    return _signed(size, positive=code >= _SIGN_BIT)


def _signed(size: NDArray[np.int32], *, positive: NDArray[np.bool_]) -> NDArray[np.float32]:
    return (np.where(positive, size, -size) / _FULL_SCALE).astype(np.float32)


_G711: Final = {"ulaw": _ulaw_table(), "alaw": _alaw_table()}
"""The sample of each byte."""
