"""Who is measured: the service over HTTP, and faster-whisper as most people use it."""

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
from faster_whisper.tokenizer import _LANGUAGE_CODES

from benchmarks.common.corpus import Clip

Transcripts = dict[str, str | None]
"""By file name; None where there was no answer."""

_BUSY_TRIES = 20


@dataclass(frozen=True, slots=True)
class BaselineOptions:
    model: str
    compute_type: str = "int8"
    beam_size: int = 5
    min_silence_duration_ms: int = 500
    speech_pad_ms: int = 400
    """faster-whisper's own default."""
    detect_language: bool = True
    version: str = faster_whisper.__version__

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def baseline(clips: Iterable[Clip], options: BaselineOptions, cpu_threads: int, cache: Path | None) -> Transcripts:
    """Transcribe one clip after the other with `WhisperModel.transcribe`, or take what an earlier run has kept."""
    kept = _read(cache).get(options.key, {}) if cache else {}
    missing = [clip for clip in clips if clip.path.name not in kept]
    if missing:
        transcribe = _whisper(options, cpu_threads)
        for number, clip in enumerate(missing, start=1):
            kept[clip.path.name] = transcribe(clip)
            print(f"\rfaster-whisper: {number} of {len(missing)}", end="", flush=True)
            if cache:
                _keep(cache, options, kept)
        print()
    return kept


def service(clips: list[Clip], url: str, concurrency: int, *, detect_language: bool) -> tuple[Transcripts, str]:
    """Post every clip, `concurrency` at a time. Gives the transcripts and the name of the model that made them."""
    models: set[str] = set()
    with httpx.Client(base_url=url, timeout=600) as client, ThreadPoolExecutor(concurrency) as pool:

        def ask(clip: Clip) -> str | None:
            answer = _post(client, clip, detect_language=detect_language)
            if answer:
                models.add(answer["model"])
            return answer["text"] if answer else None

        texts = pool.map(ask, clips)
        transcripts = {clip.path.name: text for clip, text in zip(clips, texts, strict=True)}
    return transcripts, ", ".join(sorted(models))


def _whisper(options: BaselineOptions, cpu_threads: int) -> Callable[[Clip], str | None]:
    model = faster_whisper.WhisperModel(options.model, compute_type=options.compute_type, cpu_threads=cpu_threads)

    def transcribe(clip: Clip) -> str | None:
        try:
            segments, _ = model.transcribe(
                str(clip.path),
                language=None if options.detect_language else _language(clip),
                beam_size=options.beam_size,
                vad_filter=True,
                vad_parameters={
                    "min_silence_duration_ms": options.min_silence_duration_ms,
                    "speech_pad_ms": options.speech_pad_ms,
                },
            )
            return " ".join(segment.text.strip() for segment in segments)
        except Exception as error:  # noqa: BLE001 - a file that it cannot read is a result too
            print(f"\nfaster-whisper: {clip.path.name}: {error!r}")
            return None

    return transcribe


def _language(clip: Clip) -> str | None:
    """Give the clip's language where Whisper knows it; else both are to guess."""
    return clip.language if clip.language in _LANGUAGE_CODES else None


def _post(client: httpx.Client, clip: Clip, *, detect_language: bool) -> Any:
    language = None if detect_language else _language(clip)
    content = clip.path.read_bytes()
    for _ in range(_BUSY_TRIES):
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


def _keep(cache: Path, options: BaselineOptions, transcripts: Transcripts) -> None:
    runs = json.loads(cache.read_text(encoding="utf-8")) if cache.exists() else {}
    runs[options.key] = {"options": asdict(options), "transcripts": transcripts}
    partial = cache.with_suffix(".partial")
    partial.write_text(json.dumps(runs, ensure_ascii=False, indent=1), encoding="utf-8")
    partial.replace(cache)
