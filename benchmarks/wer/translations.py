"""Compare translations into English at the default context, at the full context and by faster-whisper.

    python -m benchmarks.wer.translations --audio FOLDER --english FILE --model FOLDER_OR_NAME

FILE has a line for each recording: its file name, a tab, and its text in English. Translates each recording in turn in
each way, in this process, and scores the translations by chrF. Writes the translations, the CPU seconds and a table to
benchmarks/results. `--minutes` ends the measurement after a recording when its time is over.
"""

import argparse
import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import faster_whisper
import numpy as np
import structlog

from asr_service.engine.model.loading import load_slot_model
from asr_service.engine.options import DecodingOptions
from asr_service.engine.pipeline.transcriber import Transcriber
from asr_service.hardware.devices import Slot
from asr_service.hardware.spec import parse_devices
from asr_service.settings import load_settings
from benchmarks.common import arguments
from benchmarks.common.chrf import chrf, ngram_counts, score
from benchmarks.common.corpus import Clip, languages_in_turn, read_corpus
from benchmarks.common.engine import running_engine
from benchmarks.common.machine import machine
from benchmarks.common.models import model_folder
from benchmarks.common.report import facts, save, table

DEFAULT: Final = "default context"
FULL: Final = "full context"
BASELINE: Final = "faster-whisper"
_WAYS: Final = (DEFAULT, FULL, BASELINE)
_HEADS: Final = ("", "chrF", "minus full context, 95 % interval", "CPU s")
_N_RESAMPLES: Final = 1000

Pair = tuple[str, str]
"""The text in English, and a translation."""


@dataclass(frozen=True, slots=True)
class Translation:
    file: str
    way: str
    expected: str
    text: str
    cpu_s: float


def main() -> None:
    args = _arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    english = dict(line.split("\t") for line in args.english.read_text(encoding="utf-8").splitlines())
    clips = languages_in_turn(clip for clip in read_corpus(args.audio) if clip.path.name in english)[: args.limit]
    asyncio.run(_translate_all(args, clips, english))


async def _translate_all(args: argparse.Namespace, clips: Sequence[Clip], english: dict[str, str]) -> None:
    settings = load_settings(model=str(model_folder(args.model)), devices="cpu", compute_type="int8")
    model = load_slot_model(settings, Slot(0, parse_devices("cpu")[0]), lambda: None)
    baseline = faster_whisper.WhisperModel(settings.model, compute_type="int8")
    about = machine() | {"model": f"{Path(args.model).name}, int8, beam 5, language declared"}
    done: list[Translation] = []
    ends_at = time.monotonic() + 60 * args.minutes
    async with AsyncExitStack() as stack:
        engines = {
            way: await stack.enter_async_context(running_engine(settings.model_copy(update=changed), model))
            for way, changed in ((DEFAULT, {}), (FULL, {"encoder_context": "full"}))
        }
        for clip in clips:
            for way in _WAYS:
                began_s = time.process_time()
                if way == BASELINE:
                    text = await asyncio.to_thread(_baseline_text, baseline, clip)
                else:
                    text = await _engine_text(engines[way], clip)
                name, cpu_s = clip.path.name, time.process_time() - began_s
                done.append(Translation(name, way, english[name], text, cpu_s))
            print(f"\r{len(done) // len(_WAYS)} of {len(clips)}", end="", flush=True)
            if time.monotonic() > ends_at:
                break
    report = markdown(about, done)
    save(args.out, {"about": about, "translations": list(map(asdict, done))}, report)
    print(report)


def markdown(about: dict[str, str], done: Sequence[Translation]) -> str:
    """Format the table of scores. Every recording is in `done` in every way, in the same order."""
    by_way = {way: [each for each in done if each.way == way] for way in _WAYS}
    pairs = {way: [(each.expected, each.text) for each in own] for way, own in by_way.items()}
    rows = [
        (
            way,
            f"{chrf(pairs[way]):.2f}",
            "" if way == FULL else interval(pairs[FULL], pairs[way]),
            f"{sum(each.cpu_s for each in own):.0f}",
        )
        for way, own in by_way.items()
    ]
    known = facts(about | {"recordings": len(by_way[FULL])})
    return "\n\n".join(["# Translations into English", known, table(_HEADS, rows)]) + "\n"


def interval(before: Sequence[Pair], after: Sequence[Pair]) -> str:
    """Return the difference of two scores, and its 95 % bootstrap interval over recordings."""
    rng = np.random.default_rng(1)
    old, new = (np.array([ngram_counts(*pair) for pair in pairs]) for pairs in (before, after))
    differences = []
    for _ in range(_N_RESAMPLES):
        chosen = rng.integers(0, len(before), len(before))
        differences.append(score(new[chosen].sum(axis=0)) - score(old[chosen].sum(axis=0)))
    low, high = np.quantile(differences, [0.025, 0.975])
    return f"{chrf(after) - chrf(before):+.2f} ({low:+.2f} to {high:+.2f})"


async def _engine_text(transcriber: Transcriber, clip: Clip) -> str:
    options = DecodingOptions(language=clip.language, task="translate")
    with clip.path.open("rb") as file:
        return [event.text async for event in transcriber.transcribe(file, options)][-1]


def _baseline_text(model: faster_whisper.WhisperModel, clip: Clip) -> str:
    segments, _ = model.transcribe(
        str(clip.path), language=clip.language, task="translate", beam_size=5, vad_filter=True
    )
    return "".join(segment.text for segment in segments).strip()


def _arguments() -> argparse.Namespace:
    parser = arguments.parser(__doc__, needs_audio=True)
    parser.add_argument("--english", type=Path, required=True, help="file with the recordings' texts in English")
    parser.add_argument("--limit", type=int, help="use this many recordings, of all languages in turn")
    parser.add_argument("--minutes", type=float, default=60, help="begin no recording after this time")
    arguments.add_out(parser, "translations")
    return parser.parse_args()


if __name__ == "__main__":
    main()
