"""Speech of flite, a speech synthesizer of 16 kHz."""

import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE


def flite(*arguments: str) -> str:
    """Run flite, and return what it prints. Raises OSError: it is not installed. Raises CalledProcessError."""
    return subprocess.run(["flite", *arguments], check=True, capture_output=True, text=True).stdout


def speak(text: str, voice: str, *options: str) -> tuple[NDArray[np.float32], str]:
    """Speak a text. Return the samples, float32 [n] at 16 kHz, and what flite prints with these options.

    Raises ValueError: the voice has another sample rate. Raises OSError and CalledProcessError as `flite` does.
    """
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        printed = flite("-voice", voice, *options, "-t", text, "-o", file.name)
        samples, rate = soundfile.read(Path(file.name), dtype="float32")
    if rate != SAMPLE_RATE:
        raise ValueError(f"The voice {voice} speaks with {rate} Hz instead of {SAMPLE_RATE} Hz.")
    return samples, printed
