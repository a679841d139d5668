"""Measure the word error rate of recordings in several languages, with each way to detect the language.

    python -m benchmarks.wer.mixed_languages --url http://127.0.0.1:8000

Joins the recordings of the project's tests with a second of silence between them, and, with their own silence trimmed,
without a pause. A word counts for the part in which it is heard. Writes the table to benchmarks/results.
"""

import argparse
import io
import wave
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks.common import arguments
from benchmarks.common.corpus import Clip
from benchmarks.common.material import RATE, decode, recordings
from benchmarks.common.report import save_text, table
from benchmarks.common.scoring import Errors, count_errors

MODES = ("auto", "auto-per-chunk")
MIXES = (
    ("en-telemarketers", "fr-operators", "es-telemarketers", "ru-operators"),
    ("ru-voicemail", "it-voicemail", "en-congratulations"),
    ("en-wizard", "ja-campsite", "en-wizard", "sv-grandchildren", "en-wizard"),
    ("en-congratulations", "fr-congratulations"),
    ("en-sonnet", "es-surprise", "en-wizard", "es-telemarketers"),
)

_PAUSES_S = (1.0, 0.0)
_LOUD = 0.02


def main() -> None:
    args = _arguments()
    clips = {clip.path.stem: clip for clip in recordings(None)}
    rows: list[list[str]] = []
    for pause_s in _PAUSES_S:
        total = dict.fromkeys(MODES, Errors(0, 0))
        for mix in MIXES:
            parts = [clips[name] for name in mix]
            found = {mode: part_errors(args.url, parts, pause_s, mode) for mode in MODES}
            total = {mode: sum(found[mode], total[mode]) for mode in MODES}
            rates = [", ".join(map(_percent, found[mode])) for mode in MODES]
            rows.append([", ".join(name[:2] for name in mix), f"{pause_s:g} s", *rates])
            print(rows[-1], flush=True)
        rows.append(["**all**", f"{pause_s:g} s", *(f"**{_percent(total[mode])}**" for mode in MODES)])
    save_text(args.out, markdown(rows))
    print(markdown(rows))


def markdown(rows: list[list[str]]) -> str:
    parts = ["# Several languages in one recording"]
    parts += ["Word error rate in percent of each part; Whisper base, int8, beam 5."]
    parts += [table(["recording", "pause", *(f"`{mode}`" for mode in MODES)], rows)]
    return "\n\n".join(parts) + "\n"


def part_errors(url: str, parts: list[Clip], pause_s: float, mode: str) -> list[Errors]:
    """Transcribe the joined parts and return the errors of each part."""
    decoded = [_samples(clip.path, trimmed=not pause_s) for clip in parts]
    silence = np.zeros(int(pause_s * RATE), np.float32)
    audio = _wav(np.concatenate([piece for samples in decoded for piece in (samples, silence)]))
    fields = {"language": mode, "word_timestamps": "true"}
    answer = httpx.post(f"{url}/transcribe", files={"file": audio}, data=fields, timeout=600).raise_for_status().json()
    words = [word for segment in answer["segments"] for word in segment["words"]]
    errors, start_s = [], 0.0
    for clip, samples in zip(parts, decoded, strict=True):
        end_s = start_s + len(samples) / RATE + pause_s
        text = "".join(word["word"] for word in words if start_s <= (word["start"] + word["end"]) / 2 < end_s)
        errors.append(count_errors(clip.reference, text, clip.language or ""))
        start_s = end_s
    return errors


def _percent(errors: Errors) -> str:
    return f"{100 * errors.rate:.0f}"


def _samples(path: Path, *, trimmed: bool) -> NDArray[np.float32]:
    samples = decode(path)
    loud = np.flatnonzero(np.abs(samples) > _LOUD)
    return samples[max(loud[0] - RATE // 20, 0) : loud[-1] + RATE // 20] if trimmed else samples


def _wav(samples: NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", ""))
        out.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()


def _arguments() -> argparse.Namespace:
    parser = arguments.plain_parser(__doc__)
    parser.add_argument("--url", required=True, help="the service's URL")
    arguments.add_out(parser, "mixed_languages")
    return parser.parse_args()


if __name__ == "__main__":
    main()
