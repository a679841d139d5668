"""Voice activity detection, chunks and features of decoded audio."""

from typing import Final

SAMPLE_RATE: Final = 16_000
"""Samples per second of all decoded audio, in Hz. The decoder, Silero and Whisper all use this rate."""
