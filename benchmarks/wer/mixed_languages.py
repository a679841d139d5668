"""Recordings in several languages, made of the tests' own: word error rate with each way to tell the language.

    python -m benchmarks.wer.mixed_languages --url http://127.0.0.1:8000

Clips are joined with a second of silence between them, and without any, their own trimmed. Words count for the part
that they are heard in. Figures go to benchmarks/results.
"""

import argparse
import io
import json
import wave
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from faster_whisper import decode_audio
from numpy.typing import NDArray

from benchmarks.common.report import RESULTS
from benchmarks.common.scoring import Errors, count_errors

DATA = Path(__file__).parents[2] / "tests" / "data"
RATE = 16_000
MODES = ("auto", "auto-per-chunk")
MIXES = (
    ("en-telemarketers", "fr-operators", "es-telemarketers", "ru-operators"),
    ("ru-voicemail", "it-voicemail", "en-congratulations"),
    ("en-wizard", "ja-campsite", "en-wizard", "sv-grandchildren", "en-wizard"),
    ("en-congratulations", "fr-congratulations"),
    ("en-sonnet", "es-surprise", "en-wizard", "es-telemarketers"),
)


@dataclass(frozen=True, slots=True)
class Said:
    path: Path
    text: str
    language: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="where the service listens")
    parser.add_argument("--out", type=Path, default=RESULTS / "mixed_languages.md")
    args = parser.parse_args()
    rows = ["| recording | pause | " + " | ".join(f"`{mode}`" for mode in MODES) + " |", "|---|---|---|---|"]
    for pause_s in (1.0, 0.0):
        total = dict.fromkeys(MODES, Errors(0, 0))
        for mix in MIXES:
            found = {mode: part_errors(args.url, mix, pause_s, mode) for mode in MODES}
            total = {mode: sum(found[mode], total[mode]) for mode in MODES}
            shown = [", ".join(f"{_rate(errors)}" for errors in found[mode]) for mode in MODES]
            rows.append(f"| {', '.join(name[:2] for name in mix)} | {pause_s:g} s | {' | '.join(shown)} |")
            print(rows[-1], flush=True)
        rows.append(f"| **all** | {pause_s:g} s | " + " | ".join(f"**{_rate(total[mode])}**" for mode in MODES) + " |")
    report = (
        "# Several languages in one recording\n\nWord error rate in percent by part; Whisper base, int8, beam 5.\n\n"
    )
    args.out.write_text(report + "\n".join(rows) + "\n", encoding="utf-8")
    print("\n".join(rows))


def part_errors(url: str, mix: tuple[str, ...], pause_s: float, mode: str) -> list[Errors]:
    clips = [_clip(name, trimmed=not pause_s) for name in mix]
    silence = np.zeros(int(pause_s * RATE), np.float32)
    fields = {"language": mode, "word_timestamps": "true"}
    audio = _wav(np.concatenate([part for clip in clips for part in (clip, silence)]))
    answer = httpx.post(f"{url}/transcribe", files={"file": audio}, data=fields, timeout=600).raise_for_status().json()
    words = [word for segment in answer["segments"] for word in segment["words"]]
    errors, begin_s = [], 0.0
    for name, clip in zip(mix, clips, strict=True):
        end_s = begin_s + len(clip) / RATE + pause_s
        said = "".join(word["word"] for word in words if begin_s <= (word["start"] + word["end"]) / 2 < end_s)
        errors.append(count_errors(SPEECH[name].text, said, SPEECH[name].language))
        begin_s = end_s
    return errors


def _speech() -> dict[str, Said]:
    rows = json.loads((DATA / "manifest.json").read_text(encoding="utf-8"))
    return {Path(row["file"]).stem: Said(DATA / row["file"], row["text"], row["language"] or "") for row in rows}


SPEECH = _speech()


def _rate(errors: Errors) -> str:
    return f"{100 * errors.rate:.0f}"


def _clip(name: str, *, trimmed: bool) -> NDArray[np.float32]:
    samples: NDArray[np.float32] = decode_audio(str(SPEECH[name].path))
    loud = np.flatnonzero(np.abs(samples) > 0.02)
    return samples[max(loud[0] - RATE // 20, 0) : loud[-1] + RATE // 20] if trimmed else samples


def _wav(samples: NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", ""))
        out.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()


if __name__ == "__main__":
    main()
