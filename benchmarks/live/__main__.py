"""Play real recordings in real time to several live sessions, and report their delays and errors.

    python -m benchmarks.live --audio FOLDER --model FOLDER_OR_NAME --sessions 1,2,4,8 --seconds 120

Runs the service's engine in this process, without HTTP. Clips of 2 to 10 s with silence between them make up the sound
of a session; each session plays another order. The sound of each session is also transcribed as a recording, for
comparison. Writes the figures to benchmarks/results.
"""

import argparse
import asyncio
import logging
import resource
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, Final, cast

import numpy as np
import soundfile
import structlog

from asr_service.audio import SAMPLE_RATE
from asr_service.engine.build import Engine
from asr_service.engine.model.loading import load_slot_model
from asr_service.engine.options import DecodingOptions
from asr_service.engine.pipeline.live.events import TurnCompleted, TurnStarted
from asr_service.engine.pipeline.live.options import Delay, LiveOptions, ServerVad
from asr_service.errors import Overloaded
from asr_service.hardware.devices import Slot
from asr_service.hardware.spec import parse_devices
from asr_service.settings import load_settings
from asr_service.transcript import Word
from asr_service.transcript.events import final_transcript
from benchmarks.common import arguments
from benchmarks.common.engine import running_whole_engine
from benchmarks.common.machine import Watch, machine
from benchmarks.common.models import model_folder
from benchmarks.common.report import facts, save, table
from benchmarks.live.material import Playlist, playlist, speech_clips
from benchmarks.live.measure import Measured, add_session
from benchmarks.live.player import Heard, play
from benchmarks.live.wordless import wordless_sounds

_LIMIT_S: Final = 2.0
_HEADS: Final = (
    "sessions", "turns", "final p50 [s]", "final p99 [s]", "word p50 [s]", "word p90 [s]", "told before the end",
    "taken back", "WER live", "WER file", "CPU [cores]", "others [cores]",
)  # fmt: skip


def main() -> None:
    """Measure each number of sessions, and write the report."""
    logging.disable(logging.INFO)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    asyncio.run(_measure(_arguments()))


def _arguments() -> argparse.Namespace:
    parser = arguments.parser(__doc__, model_used_by="the engine", needs_audio=True)
    parser.add_argument("--sessions", default="1,2,4,8", help="numbers of sessions, separated by commas")
    parser.add_argument("--seconds", type=float, default=120.0, help="length of each session's sound")
    parser.add_argument("--language", default="en")
    parser.add_argument("--delay", type=Delay, choices=list(Delay), default=LiveOptions().delay)
    parser.add_argument("--silence-ms", type=int, default=ServerVad().silence_duration_ms)
    parser.add_argument("--devices", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    arguments.add_out(parser, "live")
    return parser.parse_args()


async def _measure(args: argparse.Namespace) -> None:
    settings = load_settings({}, model=str(model_folder(args.model)), devices=args.devices)
    (device,) = parse_devices(args.devices)
    model = load_slot_model(settings, Slot(0, device), lambda: None)
    clips = speech_clips(args.audio, args.language)
    rows: dict[int, Measured] = {}
    costs: dict[int, tuple[float, float]] = {}
    async with running_whole_engine(settings, model) as engine:
        numbers = [int(number) for number in args.sessions.split(",")]
        lists = [playlist(clips, args.seconds, args.seed + number) for number in range(max(numbers))]
        words = await _words_of_clips(engine, lists, args.language)
        texts = [await _text_as_file(engine, each, args.language) for each in lists]
        options = LiveOptions(
            DecodingOptions(language=args.language),
            ServerVad(silence_duration_ms=args.silence_ms),
            args.delay,
        )
        wordless = await _play_wordless(engine)
        for number in numbers:
            watch, cpu_s, began = Watch.start(), _cpu_s(), time.monotonic()
            heard = await _play_all(engine, options, lists[:number])
            n_open = len(heard)
            costs[n_open] = (_cpu_s() - cpu_s) / (time.monotonic() - began), watch.others_cores()
            measured = rows[n_open] = Measured()
            for (played, events), text in zip(heard, texts, strict=False):
                add_session(measured, played, events, text, words, args.silence_ms, args.language)
            print(table(_HEADS, [_row(n_open, measured, costs[n_open])]), flush=True)
            if n_open < number:
                break
    about = {**machine(), "model": args.model, "delay": str(args.delay), "silence": f"{args.silence_ms} ms"}
    about["without a word"] = wordless
    about["sessions on time"] = str(_n_on_time(rows))
    text = f"# Live sessions\n\n{facts(about)}\n\n{table(_HEADS, [_row(n, m, costs[n]) for n, m in rows.items()])}\n"
    save(args.out, {"about": about, "sessions": {n: asdict(m) for n, m in rows.items()}}, text)


async def _words_of_clips(engine: Engine, lists: list[Playlist], language: str) -> dict[Path, tuple[Word, ...]]:
    """Transcribe each clip that is played, for the times of its words."""
    words: dict[Path, tuple[Word, ...]] = {}
    options = DecodingOptions(language=language, word_timestamps=True)
    for path in {placed.clip.path for each in lists for placed in each.clips}:
        with path.open("rb") as file:
            transcript = await final_transcript(engine.transcriber.transcribe(file, options))
        words[path] = tuple(word for segment in transcript.segments for word in segment.words or ())
    return words


async def _text_as_file(engine: Engine, played: Playlist, language: str) -> str:
    """Transcribe the sound of a session as a recording."""
    with tempfile.TemporaryFile() as file:
        soundfile.write(file, played.samples, SAMPLE_RATE, format="WAV")
        file.seek(0)
        events = engine.transcriber.transcribe(cast("BinaryIO", file), DecodingOptions(language=language))
        return (await final_transcript(events)).text


async def _play_wordless(engine: Engine) -> str:
    """Feed sound without words, as fast as the session takes it. Return what it made of it."""
    seconds, n_turns, texts = 0.0, 0, []
    for _, sound in wordless_sounds():
        seconds += len(sound) / SAMPLE_RATE
        async with engine.live.open(LiveOptions()) as session:
            await session.feed(sound)
            await session.finish()
            async for event in session.events():
                n_turns += isinstance(event, TurnStarted)
                if isinstance(event, TurnCompleted) and event.transcript.text:
                    texts.append(event.transcript.text)
    return f"{seconds:.0f} s of silence, noise and music: {n_turns} turns, {len(texts)} with text"


async def _play_all(engine: Engine, options: LiveOptions, lists: list[Playlist]) -> list[tuple[Playlist, list[Heard]]]:
    async with AsyncExitStack() as stack:
        sessions = []
        for each in lists:
            try:
                sessions.append((each, await stack.enter_async_context(engine.live.open(options))))
            except Overloaded as error:
                print(f"{len(sessions)} sessions: {error.message}")
                break
        heard = await asyncio.gather(*(play(session, each.samples) for each, session in sessions))
    return [(each, events) for (each, _), events in zip(sessions, heard, strict=True)]


def _row(n_sessions: int, measured: Measured, cost: tuple[float, float]) -> list[str]:
    final, words = np.array(measured.final_delays_s or [np.nan]), np.array(measured.word_delays_s or [np.nan])
    return [
        str(n_sessions),
        str(measured.n_turns),
        f"{np.quantile(final, 0.5):.2f}",
        f"{np.quantile(final, 0.99):.2f}",
        f"{np.quantile(words, 0.5):.2f}",
        f"{np.quantile(words, 0.9):.2f}",
        f"{measured.n_told}",
        f"{measured.n_taken_back / max(measured.n_told, 1):.1%}",
        f"{measured.errors.rate:.2%}",
        f"{measured.file_errors.rate:.2%}",
        f"{cost[0]:.2f}",
        f"{cost[1]:.2f}",
    ]


def _n_on_time(rows: dict[int, Measured]) -> int:
    """Return the largest measured number of sessions whose final texts came within `_LIMIT_S` in 99 of 100 cases."""
    on_time = [n for n, measured in rows.items() if np.quantile(measured.final_delays_s, 0.99) <= _LIMIT_S]
    return max(on_time, default=0)


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
