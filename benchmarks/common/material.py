"""Which recordings the load is made of: one clip, a mixture of languages, and long files joined of many."""

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from faster_whisper.audio import decode_audio
from numpy.typing import NDArray

from benchmarks.common.corpus import Clip, read_corpus

RATE = 16_000
OUR_OWN = Path(__file__).parents[2] / "tests" / "data"

_PAUSE_S = 0.7
_MIXED_S = (2.0, 25.0)
_JOINED_S = (2.0, 60.0)
_SPOKEN = {"speech", "telephony"}
_MIXED_LANGUAGES = {"en", "fr", "es", "de", "pt", "ru", "zh", "it", "sv", "ja"}


def recordings(folder: Path | None) -> list[Clip]:
    """Clips of a folder with a manifest.jsonl (corpus.py), or the recordings of the project's own tests."""
    if folder is not None:
        return read_corpus(folder)
    rows = json.loads((OUR_OWN / "manifest.json").read_text(encoding="utf-8"))
    return [
        Clip(OUR_OWN / row["file"], row["seconds"], row["language"], row.get("text") or "", "speech") for row in rows
    ]


@dataclass(frozen=True, slots=True)
class Material:
    """What the scenarios send."""

    clip: Clip
    """English, 11 s or nearest to it."""
    short: Clip
    """English, 5 s or nearest to it."""
    mixed: tuple[Clip, ...]
    """2 to 25 s, language after language."""
    joinable: tuple[Clip, ...]
    """English, for long files."""


def material(clips: Iterable[Clip], n_mixed: int) -> Material:
    spoken = [clip for clip in clips if clip.reference and clip.category in _SPOKEN]
    english = [clip for clip in spoken if clip.language == "en" and clip.category == "speech"]
    return Material(
        clip=_nearest(english, 11.0),
        short=_nearest(english, 5.0),
        mixed=tuple(itertools.islice(_in_turns(spoken), n_mixed)),
        joinable=tuple(clip for clip in english if _JOINED_S[0] <= clip.seconds <= _JOINED_S[1]),
    )


def joined(clips: Sequence[Clip], seconds: float, path: Path) -> Clip:
    """Write a FLAC file of at least `seconds`: the clips one after the other with short pauses, from the start again
    where they do not suffice. Its reference is theirs, joined.
    """
    pause = np.zeros(int(_PAUSE_S * RATE), np.float32)
    decoded: dict[Clip, NDArray[np.float32]] = {}
    n_samples, words = 0, []
    with soundfile.SoundFile(path, "w", RATE, 1, format="FLAC") as out:
        for clip in itertools.cycle(clips):
            samples = decoded.setdefault(clip, np.empty(0, np.float32))
            if not len(samples):
                samples = decoded[clip] = np.asarray(decode_audio(str(clip.path), sampling_rate=RATE), np.float32)
            out.write(samples)
            out.write(pause)
            words.append(clip.reference)
            n_samples += len(samples) + len(pause)
            if n_samples >= seconds * RATE:
                break
    return Clip(path, n_samples / RATE, clips[0].language, " ".join(words), "joined")


def _nearest(clips: Iterable[Clip], seconds: float) -> Clip:
    return min(clips, key=lambda clip: (abs(clip.seconds - seconds), clip.path.name))


def _in_turns(clips: Iterable[Clip]) -> Iterable[Clip]:
    """One of each language, then another of each, round and round; long and short alternate within a language."""
    by_language: dict[str, list[Clip]] = {}
    for clip in sorted(clips, key=lambda clip: clip.path.name):
        if clip.language in _MIXED_LANGUAGES and _MIXED_S[0] <= clip.seconds <= _MIXED_S[1]:
            by_language.setdefault(clip.language or "", []).append(clip)
    wheels = [itertools.cycle(_shuffled(own)) for own in by_language.values()]
    return itertools.chain.from_iterable(map(lambda _: [next(wheel) for wheel in wheels], itertools.count()))  # noqa: C417


def _shuffled(clips: Sequence[Clip]) -> list[Clip]:
    order = np.random.default_rng(7).permutation(len(clips))
    return [clips[at] for at in order]
