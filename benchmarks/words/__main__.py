"""Compare the word times of a short encoder context with those of the full context, and measure what they cost.

    python -m benchmarks.words --audio FOLDER --model FOLDER_OR_NAME

Transcribes each clip in turn in this process: as text, with word times at the default context and at the full context,
and with faster-whisper's `WhisperModel.transcribe`. Compares the times of the words that two transcripts share. Also
joins clips with silence of known length, and measures where the first word of each clip begins and the last one ends.
Writes the figures to benchmarks/results.
"""

import argparse
import asyncio
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
import soundfile
import structlog
from faster_whisper.audio import decode_audio

from asr_service.audio import SAMPLE_RATE
from asr_service.languages import LANGUAGES
from asr_service.transcript import Word
from benchmarks.common import arguments
from benchmarks.common.corpus import Clip, languages_in_turn, read_corpus
from benchmarks.common.machine import machine
from benchmarks.common.models import model_folder
from benchmarks.common.report import facts, save, table
from benchmarks.words.compare import Span, differences, errors_at_edges, join_with_silence
from benchmarks.words.tables import HEADS, cells, figures
from benchmarks.words.ways import BASELINE, FULL, SHORT, TEXT, Transcribers, transcribers

_SILENCE_S: Final = 3.0
_JOINED_CLIPS: Final = 4
_JOINED_CLIP_S: Final = (2.0, 10.0)


@dataclass
class Measured:
    """What one way of transcribing gave and took."""

    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)
    words: list[list[Word]] = field(default_factory=list)
    """The words of each clip."""
    edges: list[Span] = field(default_factory=list)
    """Errors at the start and the end of clips in joined recordings."""


def main() -> None:
    args = _arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    clips = [clip for clip in read_corpus(args.audio) if clip.language in LANGUAGES and clip.seconds <= args.longest]
    clips = languages_in_turn(clips)[: args.limit]
    measured = asyncio.run(_measure(args, clips))
    n_languages = len({clip.language for clip in clips})
    about = machine() | {
        "model": f"{Path(args.model).name}, int8, beam 5, language declared",
        "clips": f"{len(clips)} in {n_languages} languages, {sum(clip.seconds for clip in clips) / 60:.0f} min",
    }
    report = markdown(about, clips, measured)
    save(args.out, {"about": about, "figures": _figures(measured)}, report)
    print(report)


async def _measure(args: argparse.Namespace, clips: Sequence[Clip]) -> dict[str, Measured]:
    measured = {way: Measured() for way in (TEXT, SHORT, FULL, BASELINE)}
    async with transcribers(model_folder(args.model)) as ways:
        for number, clip in enumerate(clips):
            for way, found in measured.items():
                began_cpu_s, began_s = time.process_time(), time.perf_counter()
                found.words.append(await ways.words(way, clip.path, clip.language))
                found.cpu_s.append(time.process_time() - began_cpu_s)
                found.wall_s.append(time.perf_counter() - began_s)
            print(f"\r{number + 1} of {len(clips)}", end="", flush=True)
        await _measure_joined(ways, clips, measured)
    return measured


async def _measure_joined(ways: Transcribers, clips: Sequence[Clip], measured: dict[str, Measured]) -> None:
    for group in _groups(clips):
        samples, spans = join_with_silence([_samples(clip) for clip in group], _SILENCE_S)
        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            soundfile.write(file.name, samples, SAMPLE_RATE)
            for way in (SHORT, FULL, BASELINE):
                words = await ways.words(way, Path(file.name), group[0].language)
                measured[way].edges += errors_at_edges(words, spans)


def _groups(clips: Sequence[Clip]) -> Iterator[list[Clip]]:
    """Yield groups of short clips in one language."""
    shortest_s, longest_s = _JOINED_CLIP_S
    for language in sorted({clip.language or "" for clip in clips}):
        own = [clip for clip in clips if clip.language == language and shortest_s <= clip.seconds <= longest_s]
        for at in range(0, len(own), _JOINED_CLIPS):
            yield own[at : at + _JOINED_CLIPS]


def _samples(clip: Clip) -> np.ndarray:
    return np.asarray(decode_audio(str(clip.path), SAMPLE_RATE), np.float32)


def markdown(about: dict[str, str], clips: Sequence[Clip], measured: dict[str, Measured]) -> str:
    """Format the tables of cost, of differences and of errors at known edges."""
    text = measured[TEXT]
    costs = [
        (
            way,
            f"{sum(found.cpu_s) / sum(text.cpu_s):.2f}",
            f"{median(one / other for one, other in zip(found.cpu_s, text.cpu_s, strict=True)):.2f}",
            f"{median(one / other for one, other in zip(found.wall_s, text.wall_s, strict=True)):.2f}",
        )
        for way, found in measured.items()
    ]
    compared = [(name, *cells(pairs)) for name, pairs in _compared(measured).items()]
    languages = sorted({clip.language or "" for clip in clips})
    by_language = [
        (language, *cells(pairs))
        for language in languages
        if (pairs := _differences(measured, SHORT, [clip.language == language for clip in clips]))
    ]
    edges = [(way, *cells(found.edges)) for way, found in measured.items() if found.edges]
    return (
        "\n\n".join(
            [
                "# Word times",
                facts(about),
                "Time relative to text alone:",
                table(("", "CPU, all", "CPU, median clip", "elapsed, median clip"), costs),
                "Absolute differences of word times from those of the full context:",
                table(("", "words", *HEADS), compared),
                "The default context, by language:",
                table(("", "words", *HEADS), by_language),
                f"Clips joined with {_SILENCE_S:.0f} s of silence, differences from the edges of their sound:",
                table(("", "clips", *HEADS), edges),
            ]
        )
        + "\n"
    )


def _figures(measured: dict[str, Measured]) -> dict[str, object]:
    return {
        "cpu_s": {way: sum(found.cpu_s) for way, found in measured.items()},
        "wall_s": {way: sum(found.wall_s) for way, found in measured.items()},
        "differences": {name: figures(pairs) for name, pairs in _compared(measured).items()},
        "edges": {way: figures(found.edges) for way, found in measured.items() if found.edges},
    }


def _compared(measured: dict[str, Measured]) -> dict[str, list[Span]]:
    return {way: _differences(measured, way) for way in (SHORT, BASELINE)}


def _differences(measured: dict[str, Measured], way: str, chosen: Sequence[bool] | None = None) -> list[Span]:
    return [
        pair
        for number, (words, others) in enumerate(zip(measured[way].words, measured[FULL].words, strict=True))
        if chosen is None or chosen[number]
        for pair in differences(words, others)
    ]


def _arguments() -> argparse.Namespace:
    parser = arguments.parser(__doc__, needs_audio=True)
    parser.add_argument("--limit", type=int, help="use this many clips, of all languages in turn")
    parser.add_argument("--longest", type=float, default=600, help="use clips up to this many seconds")
    arguments.add_out(parser, "words")
    return parser.parse_args()


if __name__ == "__main__":
    main()
