"""Collect transcripts of a corpus from the service over HTTP and from faster-whisper."""

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faster_whisper
import httpx
from faster_whisper.tokenizer import _LANGUAGE_CODES  # noqa: PLC2701 - it has no public list

from benchmarks.common.corpus import Clip
from benchmarks.common.models import model_folder

Transcripts = dict[str, str | None]
"""By file name. None without a transcript."""

_MAX_TRIES = 20


@dataclass(frozen=True, slots=True)
class BaselineOptions:
    model: str
    compute_type: str = "int8"
    beam_size: int = 5
    speech_pad_ms: int = 400
    """Audio kept on both sides of speech. 400 is the default of faster-whisper."""
    detect_language: bool = True
    version: str = faster_whisper.__version__

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def baseline(clips: Iterable[Clip], options: BaselineOptions, cpu_threads: int, cache: Path | None) -> Transcripts:
    """Transcribe the clips with `WhisperModel.transcribe`. Transcripts in the cache of an earlier run are reused."""
    done = _read(cache).get(options.key, {}) if cache else {}
    missing = [clip for clip in clips if clip.path.name not in done]
    if missing:
        transcribe = _whisper(options, cpu_threads)
        for number, clip in enumerate(missing, start=1):
            done[clip.path.name] = transcribe(clip)
            print(f"\rfaster-whisper: {number} of {len(missing)}", end="", flush=True)
            if cache:
                _save(cache, options, done)
        print()
    return done


def service(clips: list[Clip], url: str, concurrency: int, *, detect_language: bool) -> tuple[Transcripts, str]:
    """Post all clips, `concurrency` at a time. Returns the transcripts and the name of the model."""
    models: set[str] = set()
    with httpx.Client(base_url=url, timeout=600) as client, ThreadPoolExecutor(concurrency) as pool:

        def transcribe(clip: Clip) -> str | None:
            answer = _post(client, clip, detect_language=detect_language)
            if answer:
                models.add(answer["model"])
            return answer["text"] if answer else None

        texts = pool.map(transcribe, clips)
        transcripts = {clip.path.name: text for clip, text in zip(clips, texts, strict=True)}
    return transcripts, ", ".join(sorted(models))


def add_corpus_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that the programs which transcribe a corpus have in common."""
    parser.add_argument("--baseline-cache", type=Path, help="JSON file that keeps the baseline's transcripts")
    parser.add_argument("--limit", type=int, help="use only the first clips, this many")


def _whisper(options: BaselineOptions, cpu_threads: int) -> Callable[[Clip], str | None]:
    folder = str(model_folder(options.model))
    model = faster_whisper.WhisperModel(folder, compute_type=options.compute_type, cpu_threads=cpu_threads)

    def transcribe(clip: Clip) -> str | None:
        try:
            segments, _ = model.transcribe(
                str(clip.path),
                language=None if options.detect_language else _language(clip),
                beam_size=options.beam_size,
                vad_filter=True,
                vad_parameters={"speech_pad_ms": options.speech_pad_ms},
            )
            return " ".join(segment.text.strip() for segment in segments)
        except Exception as error:  # noqa: BLE001 - a failure is a result too
            print(f"\nfaster-whisper: {clip.path.name}: {error!r}")
            return None

    return transcribe


def _language(clip: Clip) -> str | None:
    """Return the clip's language. None if Whisper does not know it, so that both systems detect one."""
    return clip.language if clip.language in _LANGUAGE_CODES else None


def _post(client: httpx.Client, clip: Clip, *, detect_language: bool) -> Any:
    language = None if detect_language else _language(clip)
    content = clip.path.read_bytes()
    for _ in range(_MAX_TRIES):
        answer = client.post(
            "/transcribe", files={"file": (clip.path.name, content)}, data={"language": language} if language else {}
        )
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
        time.sleep(float(answer.headers.get("Retry-After", "1")))
    if answer.is_success:
        return answer.json()
    print(f"service: {clip.path.name}: {answer.status_code} {answer.text[:200]}")
    return None


def _read(cache: Path) -> dict[str, Transcripts]:
    runs = json.loads(cache.read_text(encoding="utf-8")) if cache.exists() else {}
    return {key: run["transcripts"] for key, run in runs.items()}


def _save(cache: Path, options: BaselineOptions, transcripts: Transcripts) -> None:
    runs = json.loads(cache.read_text(encoding="utf-8")) if cache.exists() else {}
    runs[options.key] = {"options": asdict(options), "transcripts": transcripts}
    partial = cache.with_suffix(".partial")
    partial.write_text(json.dumps(runs, ensure_ascii=False, indent=1), encoding="utf-8")
    partial.replace(cache)
