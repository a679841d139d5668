"""Audio as the model takes it: voice activity, chunks and features of decoded samples."""

from typing import Final

SAMPLE_RATE: Final = 16_000
"""Samples per second of all decoded audio, in Hz. The decoder, Silero and Whisper all use this rate."""
