"""Choose the recordings that a benchmark sends: single clips, clips in several languages, and long joined files."""

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
TEST_DATA = Path(__file__).parents[2] / "tests" / "data"

_PAUSE_S = 0.7
_MIXED_S = (2.0, 25.0)
_JOINED_S = (2.0, 60.0)
_SPEECH_CATEGORIES = {"speech", "telephony"}
_MIXED_LANGUAGES = {"en", "fr", "es", "de", "pt", "ru", "zh", "it", "sv", "ja"}


def recordings(folder: Path | None) -> list[Clip]:
    """Read the clips of a corpus folder (`common.corpus`), or without one the recordings of the project's tests."""
    if folder is not None:
        return read_corpus(folder)
    rows = json.loads((TEST_DATA / "manifest.json").read_text(encoding="utf-8"))
    return [
        Clip(TEST_DATA / row["file"], row["seconds"], row["language"], row.get("text") or "", "speech") for row in rows
    ]


@dataclass(frozen=True, slots=True)
class Material:
    """The recordings that the scenarios send."""

    clip: Clip
    """English, as close to 11 s as there is."""
    short: Clip
    """English, as close to 5 s as there is."""
    mixed: tuple[Clip, ...]
    """2 to 25 s long, in alternating languages."""
    joinable: tuple[Clip, ...]
    """English, to be joined to long files."""


def material(clips: Iterable[Clip], n_mixed: int) -> Material:
    """Choose the material. `n_mixed` is the number of clips in alternating languages."""
    spoken = [clip for clip in clips if clip.reference and clip.category in _SPEECH_CATEGORIES]
    english = [clip for clip in spoken if clip.language == "en" and clip.category == "speech"]
    return Material(
        clip=_nearest(english, 11.0),
        short=_nearest(english, 5.0),
        mixed=tuple(itertools.islice(_alternating_languages(spoken), n_mixed)),
        joinable=tuple(clip for clip in english if _JOINED_S[0] <= clip.seconds <= _JOINED_S[1]),
    )


def joined(clips: Sequence[Clip], seconds: float, path: Path) -> Clip:
    """Join clips with pauses of 0.7 s to a FLAC file of at least `seconds`.

    The clips are repeated from the first if they are too short. The reference is the joined references.
    """
    pause = np.zeros(int(_PAUSE_S * RATE), np.float32)
    decoded: dict[Clip, NDArray[np.float32]] = {}
    n_samples, words = 0, []
    with soundfile.SoundFile(path, "w", RATE, 1, format="FLAC") as out:
        for clip in itertools.cycle(clips):
            samples = decoded.setdefault(clip, np.empty(0, np.float32))
            if not len(samples):
                samples = decoded[clip] = decode(clip.path)
            out.write(samples)
            out.write(pause)
            words.append(clip.reference)
            n_samples += len(samples) + len(pause)
            if n_samples >= seconds * RATE:
                break
    return Clip(path, n_samples / RATE, clips[0].language, " ".join(words), "joined")


def decode(path: Path) -> NDArray[np.float32]:
    """Decode a recording to 16 kHz mono samples."""
    return np.asarray(decode_audio(str(path), sampling_rate=RATE), np.float32)


def _nearest(clips: Iterable[Clip], seconds: float) -> Clip:
    return min(clips, key=lambda clip: (abs(clip.seconds - seconds), clip.path.name))


def _alternating_languages(clips: Iterable[Clip]) -> Iterable[Clip]:
    """Yield one clip of each language in turn, without end. Within a language the order is random but fixed."""
    by_language: dict[str, list[Clip]] = {}
    for clip in sorted(clips, key=lambda clip: clip.path.name):
        if clip.language in _MIXED_LANGUAGES and _MIXED_S[0] <= clip.seconds <= _MIXED_S[1]:
            by_language.setdefault(clip.language or "", []).append(clip)
    wheels = [itertools.cycle(_shuffled(own)) for own in by_language.values()]
    return itertools.chain.from_iterable(map(lambda _: [next(wheel) for wheel in wheels], itertools.count()))  # noqa: C417


def _shuffled(clips: Sequence[Clip]) -> list[Clip]:
    order = np.random.default_rng(7).permutation(len(clips))
    return [clips[at] for at in order]
