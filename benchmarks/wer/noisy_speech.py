"""Make a corpus of long recordings that are hard to understand: English texts spoken by flite, with echo and noise.

    python -m benchmarks.wer.noisy_speech --text A.txt --text B.txt --out FOLDER

Each text becomes one recording of about 800 words from its second third. Short sets of real recordings hide how much a
recognizer loses in long, hard speech; these recordings can be made in any number. Needs flite. Writes
FOLDER/manifest.jsonl. The same texts give the same recordings.
"""

import json
import re
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr_service.audio import SAMPLE_RATE
from benchmarks.common.arguments import plain_parser
from benchmarks.common.flite import speak

_VOICES: Final = ("rms", "slt", "awb")
_N_WORDS: Final = 800
_PAUSES_S: Final = (0.15, 0.9)
_ECHO_S: Final = 0.25
_DECAYS_S: Final = (0.02, 0.06)
_PEAK: Final = 0.7


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("--text", type=Path, action="append", required=True, help="English text file; may be repeated")
    parser.add_argument("--out", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--snr", type=float, nargs=2, default=(12.0, 25.0), help="least and most signal to noise, dB")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, path in enumerate(given.text):
        random = np.random.default_rng(number)
        sentences = passage(path.read_text(encoding="utf-8"))
        voice = _VOICES[number % len(_VOICES)]
        samples = noisy(spoken(sentences, voice, random), random, tuple(given.snr))
        name = f"{path.stem}-{voice}.flac"
        soundfile.write(given.out / name, samples, SAMPLE_RATE)
        rows.append(
            {
                "file": name,
                "seconds": len(samples) / SAMPLE_RATE,
                "language": "en",
                "reference": " ".join(sentences),
                "category": "long",
            }
        )
        print(f"{name}: {rows[-1]['seconds']:.0f} s", flush=True)
    (given.out / "manifest.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def passage(text: str) -> list[str]:
    """Return sentences of a text from its second third on, with about 800 words in all."""
    sentences = re.split(r"(?<=[.?!])\s+", re.sub(r"\s+", " ", text).strip())
    chosen: list[str] = []
    for sentence in sentences[len(sentences) // 3 :]:
        if sum(len(each.split()) for each in chosen) >= _N_WORDS:
            break
        chosen.append(sentence)
    return chosen


def spoken(sentences: list[str], voice: str, random: np.random.Generator) -> NDArray[np.float64]:
    """Return the sentences as speech of 16 kHz, with pauses between them."""
    parts: list[NDArray[np.float32]] = []
    for sentence in sentences:
        samples, _ = speak(sentence.replace("-", " "), voice)
        parts += [samples, np.zeros(int(SAMPLE_RATE * random.uniform(*_PAUSES_S)), np.float32)]
    return np.concatenate(parts).astype(np.float64)


def noisy(
    samples: NDArray[np.float64], random: np.random.Generator, snr_db: tuple[float, float]
) -> NDArray[np.float64]:
    """Return speech with a short echo and white noise."""
    n_echo = int(_ECHO_S * SAMPLE_RATE)
    decay = np.exp(-np.arange(n_echo) / (random.uniform(*_DECAYS_S) * SAMPLE_RATE))
    echo = decay * random.standard_normal(n_echo)
    echo[0] = 8
    heard = np.convolve(samples, echo)[: len(samples)]
    noise = random.standard_normal(len(heard))
    ratio = 10 ** (random.uniform(*snr_db) / 10)
    heard += noise * np.sqrt(np.square(heard).mean() / ratio)
    return heard * (_PEAK / float(np.abs(heard).max()))


if __name__ == "__main__":
    main()
