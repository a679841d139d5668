"""The real client programs of live speech, and the sound that they send."""

import wave
from pathlib import Path

from faster_whisper import decode_audio

from api.openai.clients.programs import HERE, Program

LIVE_PROGRAMS = (
    Program("livekit-live", "livekit_live.py", ("livekit-plugins-openai", "livekit-agents", "openai"), 1),
    Program("pipecat-live", "pipecat_live.py", ("pipecat-ai",), 1),
    Program("openai-node-live", "openai-live.mjs", ("openai7", "ws"), 1),
)
TLS_ONLY = "openai-node-live"
"""This SDK has no unencrypted WebSocket."""

_SPEECH = HERE.parents[2] / "data" / "en-wizard.flac"
_RATE = 24_000
_SECONDS = 0.9


def write_speech(path: Path) -> Path:
    """Write the first words of a recording as a WAV file of 24 kHz."""
    samples = decode_audio(str(_SPEECH), sampling_rate=_RATE)[: round(_SECONDS * _RATE)]
    with wave.open(str(path), "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(_RATE)
        writer.writeframes((samples * 32_767).astype("<i2").tobytes())
    return path
