"""Measure whether a prompt or hotwords make the model say a text twice, by the length of the encoder's context.

    python -m benchmarks.wer.prompts --audio FOLDER --model FOLDER_OR_NAME

Transcribes the same clips of 1 to 30 s with each prompt: through the engine in this process with each context, and with
faster-whisper's `WhisperModel.transcribe` in the same beam and precision. Counts the transcripts in which a text stands
twice, the wrong words, and the CPU seconds of this process. Writes the transcripts, the counts and a table to
benchmarks/results. Runs in the results of an earlier call with the same clips are not measured again; `--again NAME`
measures those of one context again. `--minutes` ends a call after a run when its time is over.
"""

import argparse
import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from itertools import product
from pathlib import Path
from typing import Final

import faster_whisper
import structlog

from asr_service.engine.model.loading import load_slot_model
from asr_service.engine.model.protocol import SpeechModel
from asr_service.engine.options import DecodingOptions
from asr_service.engine.pipeline.transcriber import Transcriber
from asr_service.errors import RequestError
from asr_service.hardware.devices import Slot
from asr_service.hardware.spec import parse_devices
from asr_service.languages import LANGUAGES
from asr_service.settings import Settings, load_settings
from benchmarks.common import arguments
from benchmarks.common.corpus import Clip, languages_in_turn, read_corpus
from benchmarks.common.engine import running_engine
from benchmarks.common.machine import machine
from benchmarks.common.models import model_folder
from benchmarks.common.report import facts, save, table
from benchmarks.common.scoring import Errors, count_errors, words_of
from benchmarks.wer.table import interval
from benchmarks.wer.transcripts import add_corpus_options

FULL: Final = "full"
BASELINE: Final = "faster-whisper"
NO_PROMPT: Final = "none"

_TERMS: Final = (
    "Kubernetes, PostgreSQL, Grafana, Prometheus, OpenTelemetry",
    "Nginx, Gunicorn, Uvicorn, CTranslate2, Silero, Whisper, FastAPI, Pydantic",
    (
        "Terraform, Ansible, Jenkins, Elasticsearch, Kibana, RabbitMQ, Redis, Memcached, MongoDB, Cassandra, Hadoop, "
        "Spark, Airflow, TensorFlow, PyTorch, NumPy, SciPy"
    ),
)
"""Words that none of the clips has: 5, then 8 more, then 17 more."""
_HEADS: Final = ("prompt", "context", "said twice", "WER, %", "minus without a prompt, 95 % interval", "CPU s")
_MIN_TWICE: Final = 3
"""A repeated text has at least this many words. Shorter ones are often spoken twice."""
_SIMILAR: Final = 0.75
_CONCURRENCY: Final = 4


@dataclass(frozen=True, slots=True)
class Run:
    """The transcripts of all clips, by file name, with one prompt and one context."""

    prompt: str
    context: str
    texts: dict[str, str]
    cpu_s: float


def prompts() -> dict[str, dict[str, str]]:
    """Return the prompts by name, as options of `DecodingOptions` and of faster-whisper."""
    found: dict[str, dict[str, str]] = {NO_PROMPT: {}}
    for number, n_terms in enumerate((5, 13, 30), start=1):
        terms = ", ".join(_TERMS[:number])
        found[f"{n_terms} terms, prompt"] = {"initial_prompt": f"Glossary: {terms}."}
        found[f"{n_terms} terms, hotwords"] = {"hotwords": terms}
    return found


def main() -> None:
    args = _arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    clips = _clips(args)
    settings = load_settings(model=str(model_folder(args.model)), devices="cpu", compute_type="int8")
    about = machine() | {"model": f"{Path(args.model).name}, int8, beam 5, language declared", "clips": str(len(clips))}
    runs = _earlier(args.out, clips, args.again)
    ends_at = time.monotonic() + 60 * args.minutes
    model: SpeechModel | None = None
    for context, prompt in product(args.contexts, args.prompts):
        if (context, prompt) in runs or time.monotonic() > ends_at:
            continue
        if context != BASELINE:
            model = model or load_slot_model(settings, Slot(0, parse_devices("cpu")[0]), lambda: None)
        began = time.process_time()
        texts = _transcribe(clips, settings, model, context, prompts()[prompt])
        runs[context, prompt] = Run(prompt, context, texts, time.process_time() - began)
        save(args.out, {"about": about, "runs": [asdict(run) for run in runs.values()]}, markdown(about, clips, runs))
        print(f"{context}, {prompt}: {twice(clips, runs[context, prompt])}", flush=True)
    print(markdown(about, clips, runs))


def markdown(about: dict[str, str], clips: Sequence[Clip], runs: dict[tuple[str, str], Run]) -> str:
    """Format the table of all runs."""
    rows = []
    for (context, prompt), run in sorted(runs.items(), key=lambda each: list(prompts()).index(each[0][1])):
        errors = _errors(clips, run)
        plain = runs.get((context, NO_PROMPT))
        difference = interval(_errors(clips, plain), errors) if plain and plain is not run else ""
        rate = 100 * sum(errors.values(), Errors(0, 0)).rate
        n_twice = str(len(twice(clips, run)))
        rows.append((prompt, _label(context), n_twice, f"{rate:.2f}", difference, f"{run.cpu_s:.0f}"))
    note = (
        "`said twice` counts the clips in which three or more words stand twice in a row and make the text longer than "
        "the reference, which has them once."
    )
    return "\n\n".join(["# Texts said twice, by prompt and context", facts(about), note, table(_HEADS, rows)]) + "\n"


def twice(clips: Sequence[Clip], run: Run) -> list[str]:
    """Return the names of the clips in which a run has a text twice that the reference has once."""
    return [clip.path.name for clip in clips if _is_twice(clip, run.texts[clip.path.name])]


def _is_twice(clip: Clip, text: str) -> bool:
    expected, found = (words_of(each, clip.language or "en") for each in (clip.reference, text))
    length = repeats(found)
    return length > repeats(expected) and len(found) >= len(expected) + _SIMILAR * length


def repeats(words: Sequence[str]) -> int:
    """Return the length of the longest sequence of words that follows directly on one that is much like it."""
    longest = 0
    for length in range(_MIN_TWICE, len(words) // 2 + 1):
        for start in range(len(words) - 2 * length + 1):
            first, second = words[start : start + length], words[start + length : start + 2 * length]
            matcher = SequenceMatcher(None, first, second, autojunk=False)
            if matcher.real_quick_ratio() >= _SIMILAR and matcher.quick_ratio() >= _SIMILAR <= matcher.ratio():
                longest = length
                break
    return longest


def _transcribe(
    clips: Sequence[Clip], settings: Settings, model: SpeechModel | None, context: str, prompt: dict[str, str]
) -> dict[str, str]:
    if model is None or context == BASELINE:
        return dict(_faster_whisper(clips, settings, prompt))
    return asyncio.run(_through_engine(clips, settings, model, context, prompt))


def _faster_whisper(clips: Sequence[Clip], settings: Settings, prompt: dict[str, str]) -> Iterator[tuple[str, str]]:
    model = faster_whisper.WhisperModel(settings.model, compute_type="int8")
    for clip in clips:
        segments, _ = model.transcribe(
            str(clip.path),
            language=clip.language,
            beam_size=5,
            vad_filter=True,
            **prompt,
        )
        yield clip.path.name, "".join(segment.text for segment in segments)


async def _through_engine(
    clips: Sequence[Clip], settings: Settings, model: SpeechModel, context: str, prompt: dict[str, str]
) -> dict[str, str]:
    changed = {"encoder_context": FULL} if context == FULL else {"encoder_margin_s": float(context)}
    texts: dict[str, str] = {}
    waiting = iter(clips)
    async with running_engine(settings.model_copy(update=changed), model) as transcriber:

        async def transcribe_in_turn() -> None:
            for clip in waiting:
                texts[clip.path.name] = await _text(transcriber, clip, prompt)

        await asyncio.gather(*(transcribe_in_turn() for _ in range(_CONCURRENCY)))
    return texts


async def _text(transcriber: Transcriber, clip: Clip, prompt: dict[str, str]) -> str:
    options = DecodingOptions(
        language=clip.language, initial_prompt=prompt.get("initial_prompt"), hotwords=prompt.get("hotwords")
    )
    with clip.path.open("rb") as file:
        try:
            return [event.text async for event in transcriber.transcribe(file, options)][-1]
        except RequestError as error:
            print(f"{clip.path.name}: {error}")
            return ""


def _errors(clips: Sequence[Clip], run: Run) -> dict[str, Errors]:
    return {
        clip.path.name: count_errors(clip.reference, run.texts[clip.path.name], clip.language or "en") for clip in clips
    }


def _earlier(out: Path, clips: Sequence[Clip], again: Sequence[str]) -> dict[tuple[str, str], Run]:
    file = out.with_suffix(".json")
    rows = json.loads(file.read_text(encoding="utf-8"))["runs"] if file.exists() else []
    runs = [Run(**row) for row in rows]
    names = {clip.path.name for clip in clips}
    return {(run.context, run.prompt): run for run in runs if run.texts.keys() == names and run.context not in again}


def _clips(args: argparse.Namespace) -> list[Clip]:
    """Return clips of 1 to `--longest` seconds: every language in turn, so that `--limit` keeps them all."""
    fits: Callable[[Clip], bool] = lambda clip: (  # noqa: E731
        bool(clip.reference) and clip.language in (args.languages or LANGUAGES) and 1 <= clip.seconds <= args.longest
    )
    return languages_in_turn(filter(fits, read_corpus(args.audio)))[: args.limit]


def _label(context: str) -> str:
    return f"margin {context} s" if context not in {FULL, BASELINE} else context.replace(FULL, "full context")


def _arguments() -> argparse.Namespace:
    parser = arguments.parser(__doc__, needs_audio=True)
    parser.add_argument("--contexts", nargs="+", default=["2.5", "6", FULL, BASELINE], help="margins in s, `full`")
    parser.add_argument("--prompts", nargs="+", default=list(prompts()), choices=list(prompts()))
    parser.add_argument("--again", nargs="+", default=[], help="contexts to measure again")
    parser.add_argument("--minutes", type=float, default=60, help="begin no run after this time")
    parser.add_argument("--languages", nargs="+", help="codes of the languages to use (default: all)")
    parser.add_argument("--longest", type=float, default=30, help="use clips up to this many seconds")
    add_corpus_options(parser)
    arguments.add_out(parser, "prompts")
    return parser.parse_args()


if __name__ == "__main__":
    main()
