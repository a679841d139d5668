"""The sound to listen to: a microphone, or a recording that is played at the speed at which it was spoken."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE
from asr_service.decoder.pool import DecodeLimits, DecoderPool
from asr_service.errors import ConfigurationError
from asr_service.extras import install_command

PIECE_SAMPLES: Final = SAMPLE_RATE // 10
_MAX_RECORDING_S: Final = 24 * 3600.0


async def recording(path: Path, stopped: "asyncio.Future[None]") -> AsyncIterator[NDArray[np.float32]]:
    """Yield the samples of a file, float32 [n] at 16 kHz, when they are due, to its end or until `stopped` is done.

    Raises AsrError: it does not decode.
    """
    pool = DecoderPool(DecodeLimits(max_audio_s=_MAX_RECORDING_S), max_parallel=1)
    await pool.start()
    try:
        with path.open("rb") as file:
            async with pool.decode(file) as audio:
                due_s = time.monotonic()
                while not stopped.done() and len(samples := await audio.read(PIECE_SAMPLES)):
                    due_s += len(samples) / SAMPLE_RATE
                    await asyncio.sleep(due_s - time.monotonic())
                    yield samples
    finally:
        await pool.close()


def require_microphone() -> None:
    """Raise ConfigurationError if there is no microphone, or if the optional library is missing."""
    with _opening() as sounddevice:
        sounddevice.check_input_settings(samplerate=SAMPLE_RATE, channels=1, dtype="float32")


async def microphone(stopped: "asyncio.Future[None]") -> AsyncIterator[NDArray[np.float32]]:
    """Yield the samples of the default microphone, float32 [n] at 16 kHz: all until `stopped` is done.

    Raises ConfigurationError, as `require_microphone` does.
    """
    loop, pieces = asyncio.get_running_loop(), asyncio.Queue[NDArray[np.float32] | None]()

    def on_samples(samples: NDArray[np.float32], *_: object) -> None:
        loop.call_soon_threadsafe(pieces.put_nowait, samples[:, 0].copy())

    with _opening() as sounddevice:
        stream = sounddevice.InputStream(
            samplerate=SAMPLE_RATE, channels=1, dtype="float32", blocksize=PIECE_SAMPLES, callback=on_samples
        )
    stopped.add_done_callback(lambda _: pieces.put_nowait(None))
    with stream:
        while (samples := await pieces.get()) is not None:
            yield samples


@contextmanager
def _opening() -> Iterator[Any]:
    """Yield the library of microphones. Raises ConfigurationError: it is missing, or it fails within the block."""
    try:
        import sounddevice  # noqa: PLC0415 - an optional dependency
    except (ImportError, OSError) as error:  # OSError: the system has no PortAudio
        raise ConfigurationError(
            f"The microphone cannot be used: {str(error).rstrip('.')}. Run `{install_command('microphone')}` and "
            "install PortAudio (Debian: libportaudio2), or name a recording: asr-service listen talk.wav."
        ) from error
    try:
        yield sounddevice
    except sounddevice.PortAudioError as error:
        raise ConfigurationError(f"The microphone cannot be opened: {str(error).rstrip('.')}.") from error
