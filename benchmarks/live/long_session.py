"""Play an hour of speech in real time through a service's WebSocket, and report delays and memory by part of it.

    python -m benchmarks.live.long_session --audio FOLDER --model FOLDER_OR_NAME --minutes 59

Clips of 2 to 10 s with silence between them make up the sound. A turn's delay is the time from the end of its speech
to its final text. Writes the figures to benchmarks/results. The exit code is 1 if the last part is slower or larger
than the first.
"""

import argparse
import asyncio
import base64
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import psutil
from websockets.asyncio.client import ClientConnection, connect

from asr_service.audio import SAMPLE_RATE
from asr_service.engine.pipeline.live.options import ServerVad
from benchmarks.common import arguments
from benchmarks.common.machine import Watch, machine
from benchmarks.common.models import model_folder
from benchmarks.common.report import facts, save, table
from benchmarks.common.scoring import Errors, count_errors
from benchmarks.common.servers import SERVICE, ServerConfig, running
from benchmarks.live.material import Playlist, playlist, speech_clips
from benchmarks.live.player import PIECE_S, sent_at_s

_PARTS: Final = 6
_LAST_TEXT_S: Final = 10.0
_FRAME_S: Final = 0.032
_MORE_DELAY_S: Final = 0.3
_MORE_MEMORY: Final = 1.1
_HEADS: Final = ("minutes", "turns", "final p50 [s]", "p99 [s]", "longest [s]", "memory [MiB]", "WER", "others [cores]")


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn as the client saw it, in seconds of the sound."""

    end_s: float
    delay_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Sample:
    """What the service and the machine had at one time."""

    at_s: float
    memory_bytes: int
    """PSS of all processes of the service."""
    others_cores: float
    """Cores that other processes used since the last sample."""


@dataclass(frozen=True, slots=True)
class Part:
    """What was measured in one part of the session."""

    from_s: float
    to_s: float
    delays_s: list[float]
    memory_bytes: int
    """At its end."""
    errors: Errors
    others_cores: float


def main() -> None:
    """Start a service, play the sound to it, and write the report."""
    args = _arguments()
    sound = playlist(speech_clips(args.audio, args.language), args.minutes * 60, args.seed)
    with tempfile.TemporaryDirectory() as folder:
        config = ServerConfig(model_folder(args.model), "int8", Path(folder))
        with running(SERVICE, config) as server:
            parts = asyncio.run(_play(server.url, server.pid, sound, args.language))
    about = {**machine(), "model": args.model, "session": f"{args.minutes:g} min, {args.language}"}
    text = f"# A long live session\n\n{facts(about)}\n\n{table(_HEADS, [_row(part) for part in parts])}\n"
    save(args.out, {"about": about, "parts": [asdict(part) for part in parts]}, text)
    print(text)
    sys.exit(_is_worse(parts))


def _arguments() -> argparse.Namespace:
    parser = arguments.parser(__doc__, model_used_by="the service", needs_audio=True)
    parser.add_argument("--minutes", type=float, default=59.0, help="length; a session may last 60")
    parser.add_argument("--language", default="en")
    parser.add_argument("--seed", type=int, default=0)
    arguments.add_out(parser, "live-long")
    return parser.parse_args()


async def _play(url: str, pid: int, sound: Playlist, language: str) -> list[Part]:
    async with connect(f"{url.replace('http', 'ws', 1)}/v1/realtime?intent=transcription", max_size=None) as connection:
        audio = {
            "format": {"type": "audio/pcm", "rate": SAMPLE_RATE},
            "transcription": {"language": language},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": ServerVad().silence_duration_ms},
        }
        await _send(connection, "session.update", session={"type": "transcription", "audio": {"input": audio}})
        began, turns = time.monotonic(), list[Turn]()
        reading = asyncio.create_task(_read(connection, began, turns))
        feeding = asyncio.create_task(_feed(connection, sound, began, pid))
        await asyncio.wait([reading, feeding], return_when=asyncio.FIRST_COMPLETED)
        if reading.done():  # with an error
            feeding.cancel()
            reading.result()
        samples = await feeding
        await asyncio.wait([reading], timeout=_LAST_TEXT_S)
        reading.cancel()
    return _parts(sound, turns, samples, language)


async def _feed(connection: ClientConnection, sound: Playlist, began: float, pid: int) -> list[Sample]:
    """Send each piece when it has been spoken. Return what the service and the machine had at the end of each part."""
    piece = int(PIECE_S * SAMPLE_RATE)
    n_pieces = -(-len(sound.samples) // piece)
    samples: list[Sample] = []
    watch = Watch.start()
    for number in range(1, n_pieces + 1):
        await asyncio.sleep(max(began + number * PIECE_S - time.monotonic(), 0))
        spoken = sound.samples[(number - 1) * piece : number * piece]
        pcm = (np.clip(spoken, -1, 1) * 32767).astype("<i2").tobytes()
        await _send(connection, "input_audio_buffer.append", audio=base64.b64encode(pcm).decode())
        if number >= n_pieces * (len(samples) + 1) / _PARTS:
            samples.append(Sample(number * PIECE_S, _memory_bytes(pid), watch.others_cores()))
            print(samples[-1], flush=True)
            watch = Watch.start()
    return samples


async def _read(connection: ClientConnection, began: float, turns: list[Turn]) -> None:
    """Note each final text. Raises RuntimeError: the service sent an error."""
    silence_s = round(ServerVad().silence_duration_ms / 1000 / _FRAME_S) * _FRAME_S
    ends_s: dict[str, float] = {}
    async for message in connection:
        at_s, event = time.monotonic() - began, json.loads(message)
        if event["type"] == "input_audio_buffer.speech_stopped":
            ends_s[event["item_id"]] = event["audio_end_ms"] / 1000 - silence_s
        elif event["type"] == "conversation.item.input_audio_transcription.completed":
            end_s = ends_s[event["item_id"]]
            turns.append(Turn(end_s, at_s - sent_at_s(end_s), event["transcript"]))
            print(f"{turns[-1].end_s:.1f} s: {turns[-1].delay_s:.2f} s", flush=True)
        elif event["type"] == "error":
            raise RuntimeError(event["error"]["message"])


async def _send(connection: ClientConnection, kind: str, **fields: object) -> None:
    await connection.send(json.dumps({"type": kind, **fields}))


def _parts(sound: Playlist, turns: Sequence[Turn], samples: Sequence[Sample], language: str) -> list[Part]:
    parts: list[Part] = []
    for sample in samples:
        from_s, to_s = parts[-1].to_s if parts else 0.0, sample.at_s
        own = [turn for turn in turns if from_s <= turn.end_s < to_s]
        reference = " ".join(placed.clip.reference for placed in sound.clips if from_s <= placed.end_s < to_s)
        errors = count_errors(reference, " ".join(turn.text for turn in own), language)
        delays_s = [turn.delay_s for turn in own]
        parts.append(Part(from_s, to_s, delays_s, sample.memory_bytes, errors, sample.others_cores))
    return parts


def _memory_bytes(pid: int) -> int:
    process = psutil.Process(pid)
    return sum(each.memory_full_info().pss for each in [process, *process.children(recursive=True)])


def _row(part: Part) -> list[str]:
    delays = np.array(part.delays_s or [np.nan])
    return [
        f"{part.from_s / 60:.0f} to {part.to_s / 60:.0f}",
        str(len(part.delays_s)),
        f"{np.quantile(delays, 0.5):.2f}",
        f"{np.quantile(delays, 0.99):.2f}",
        f"{delays.max():.2f}",
        f"{part.memory_bytes / 2**20:.0f}",
        f"{part.errors.rate:.2%}",
        f"{part.others_cores:.2f}",
    ]


def _is_worse(parts: Sequence[Part]) -> bool:
    """Tell whether the last part's median delay or memory is above the first's by more than chance."""
    first, last = parts[0], parts[-1]
    slower = np.median(last.delays_s) > np.median(first.delays_s) + _MORE_DELAY_S
    return bool(slower or last.memory_bytes > first.memory_bytes * _MORE_MEMORY)


if __name__ == "__main__":
    main()
