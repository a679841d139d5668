"""Play real recordings in real time to several live sessions, and report their delays and errors.

    python -m benchmarks.live --audio FOLDER --model FOLDER_OR_NAME --sessions 1,2,4,8 --seconds 120

Runs the service's engine in this process, without HTTP. Clips of 2 to 10 s with silence between them make up the sound
of a session; each session plays another order. The sound of each session is also transcribed as a recording, for
comparison. Sessions that the service would refuse are not played: the report has how many were asked for. Then clips
are sent as ordinary requests, in turn alone and beside sessions. Writes the figures to benchmarks/results.
"""

import argparse
import asyncio
import logging
import resource
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, cast

import soundfile
import structlog
from prometheus_client import REGISTRY

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
from benchmarks.live.clips import EVERY_S, Clips, quantile, send_clips
from benchmarks.live.material import Playlist, playlist, speech_clips
from benchmarks.live.measure import Measured, add_session
from benchmarks.live.player import Heard, play
from benchmarks.live.wordless import wordless_sounds

_LIMIT_S: Final = 2.0
_ROUNDS: Final = 2
_PARTIALS: Final = "asr_live_partials_total"
_HEADS: Final = (
    "asked for", "admitted", "turns", "final p50 [s]", "final p99 [s]", "word p50 [s]", "word p90 [s]",
    "words sent before the end", "taken back", "WER live", "WER file",
    "partial texts per second", "delayed", "CPU [cores]", "others [cores]",
)  # fmt: skip


@dataclass
class Row:
    """What some sessions that played at the same time show."""

    asked: int
    admitted: int
    measured: Measured = field(default_factory=Measured)
    partials_per_s: float = 0.0
    delayed: float = 0.0
    """Part of the partial texts that waited longer than their delay asks."""
    cpu_cores: float = 0.0
    others_cores: float = 0.0


def main() -> None:
    """Measure each number of sessions, and write the report."""
    logging.disable(logging.INFO)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    asyncio.run(_measure(_arguments()))


def _arguments() -> argparse.Namespace:
    parser = arguments.parser(__doc__, model_used_by="the engine", needs_audio=True)
    parser.add_argument("--sessions", default="1,2,4,8", help="numbers of sessions, separated by commas")
    parser.add_argument("--seconds", type=float, default=120.0, help="length of each session's sound")
    parser.add_argument("--beside", type=int, default=4, help="sessions beside the clips; 0 leaves this part out")
    parser.add_argument("--n-clips", type=int, default=20, help="clips of each of the four parts")
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
    rows: list[Row] = []
    async with running_whole_engine(settings, model) as engine:
        numbers = [int(number) for number in args.sessions.split(",")]
        lists = [playlist(clips, args.seconds, args.seed + number) for number in range(max([*numbers, args.beside]))]
        words = await _words_of_clips(engine, lists, args.language)
        texts = [await _text_as_file(engine, each, args.language) for each in lists]
        options = LiveOptions(
            DecodingOptions(language=args.language),
            ServerVad(silence_duration_ms=args.silence_ms),
            args.delay,
        )
        wordless = await _play_wordless(engine)
        for number in numbers:
            row, heard = await _measure_row(engine, options, lists[:number])
            for (played, events), text in zip(heard, texts, strict=False):
                add_session(row.measured, played, events, text, words, args.silence_ms, args.language)
            rows.append(row)
            print(table(_HEADS, [_cells(row)]), flush=True)
        paths = [clip.path for clip in clips]
        beside = await _measure_clips(engine, options, lists[: args.beside], paths, args) if args.beside else Clips()
    about = {**machine(), "model": args.model, "delay": str(args.delay), "silence": f"{args.silence_ms} ms"}
    about["without a word"] = wordless
    about["sessions on time"] = str(_n_on_time(rows))
    if beside.beside_s:
        about[f"a clip every {EVERY_S:g} s"] = _clips_text(beside)
    text = f"# Live sessions\n\n{facts(about)}\n\n{table(_HEADS, [_cells(row) for row in rows])}\n"
    save(args.out, {"about": about, "sessions": [asdict(row) for row in rows], "clips": asdict(beside)}, text)


async def _measure_row(
    engine: Engine, options: LiveOptions, lists: list[Playlist]
) -> tuple[Row, list[tuple[Playlist, list[Heard]]]]:
    """Play as many of the lists as are admitted. Return what they cost, and what they heard."""
    watch, cpu_s, began = Watch.start(), _cpu_s(), time.monotonic()
    before = _n_partials()
    heard = await _play_all(engine, options, lists)
    elapsed_s = time.monotonic() - began
    n_decoded, n_delayed = (after - earlier for after, earlier in zip(_n_partials(), before, strict=True))
    row = Row(
        asked=len(lists),
        admitted=len(heard),
        partials_per_s=n_decoded / elapsed_s,
        delayed=n_delayed / max(n_decoded, 1),
        cpu_cores=(_cpu_s() - cpu_s) / elapsed_s,
        others_cores=watch.others_cores(),
    )
    return row, heard


def _n_partials() -> tuple[float, float]:
    """Return how many partial texts were decoded, and how many of all waited longer than their delay asks."""
    decoded = REGISTRY.get_sample_value(_PARTIALS, {"outcome": "decoded"})
    return decoded or 0.0, REGISTRY.get_sample_value("asr_live_partials_delayed_total") or 0.0


async def _measure_clips(
    engine: Engine, options: LiveOptions, lists: list[Playlist], paths: list[Path], args: argparse.Namespace
) -> Clips:
    """Send the same clips alone and beside sessions, in turn."""
    clips = Clips()
    paths = (paths * args.n_clips)[: args.n_clips]
    for _ in range(_ROUNDS):
        clips.alone_s += await send_clips(engine.transcriber, paths, args.language)
        playing = asyncio.create_task(_play_all(engine, options, lists))
        await asyncio.sleep(1)
        clips.n_sessions.append(int(REGISTRY.get_sample_value("asr_live_sessions", {"slot": "0"}) or 0))
        clips.beside_s += await send_clips(engine.transcriber, paths, args.language)
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
    return clips


def _clips_text(clips: Clips) -> str:
    alone, beside = (
        f"{quantile(each, 0.5):.2f} and {quantile(each, 0.95):.2f} s" for each in (clips.alone_s, clips.beside_s)
    )
    n_sessions = " and ".join(map(str, clips.n_sessions))
    return (
        f"p50 and p95 alone {alone}, beside {n_sessions} sessions {beside} ({len(clips.alone_s)} clips each); "
        f"ratio of p95 {clips.ratio:.2f}"
    )


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


def _cells(row: Row) -> list[str]:
    measured = row.measured
    return [
        str(row.asked),
        str(row.admitted),
        str(measured.n_turns),
        f"{quantile(measured.final_delays_s, 0.5):.2f}",
        f"{quantile(measured.final_delays_s, 0.99):.2f}",
        f"{quantile(measured.word_delays_s, 0.5):.2f}",
        f"{quantile(measured.word_delays_s, 0.9):.2f}",
        f"{measured.n_sent}",
        f"{measured.n_taken_back / max(measured.n_sent, 1):.1%}",
        f"{measured.errors.rate:.2%}",
        f"{measured.file_errors.rate:.2%}",
        f"{row.partials_per_s:.2f}",
        f"{row.delayed:.0%}",
        f"{row.cpu_cores:.2f}",
        f"{row.others_cores:.2f}",
    ]


def _n_on_time(rows: list[Row]) -> int:
    """Return the largest number of sessions whose final texts came within `_LIMIT_S` in 99 of 100 cases."""
    on_time = [row.admitted for row in rows if quantile(row.measured.final_delays_s, 0.99) <= _LIMIT_S]
    return max(on_time, default=0)


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
