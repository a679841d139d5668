"""Count the subtitle cues that break the rules of readability, and compare with faster-whisper's segments as cues.

    python -m benchmarks.subtitles --audio FOLDER --model FOLDER_OR_NAME --url http://127.0.0.1:8000 [FILE...]

`FOLDER` has a manifest.jsonl (`common.corpus`). Without FILEs, its recordings of at least two minutes are used. The
service transcribes each twice, with word timestamps and with `word_timestamps=false`. The word times of both are then
compared. Writes tables and figures to benchmarks/results.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import faster_whisper
import httpx
import pysubs2

from asr_service.formats.subtitles.pieces import pieces_of
from asr_service.transcript import Segment, Word
from benchmarks.common import arguments
from benchmarks.common.corpus import audio_folder, manifest
from benchmarks.common.models import model_folder
from benchmarks.common.report import save, table
from benchmarks.subtitles.rules import HEADS, Cue, Violations, violations

_LONG_RECORDING_S = 120


def main() -> None:
    args = _arguments()
    paths = _chosen(args.audio, args.files)
    whisper = faster_whisper.WhisperModel(str(model_folder(args.model)), compute_type="int8")
    runs: dict[str, Violations] = {}
    differences_s: list[float] = []
    for path in paths:
        print(path.name, flush=True)
        systems: dict[str, Callable[[], list[Cue]]] = {
            "faster-whisper's segments": partial(_baseline_cues, whisper, path),
            "service": partial(_service_cues, args.url, path),
            "service, word_timestamps=false": partial(_service_cues, args.url, path, word_timestamps="false"),
        }
        for name, create in systems.items():
            found = _timed(create)
            runs[name] = runs[name] + found if name in runs else found
        answer = _post(args.url, path, word_timestamps="true")
        differences_s += word_differences(answer.json()["segments"])
    report = _markdown(runs, differences_s, paths)
    print(report)
    data = {"files": [path.name for path in paths], "runs": {name: asdict(run) for name, run in runs.items()}}
    save(args.out, data, report)


def word_differences(segments: Iterable[dict[str, Any]]) -> list[float]:
    """Return, for each word, the seconds between its timestamp and its position interpolated within the segment."""
    timed = [_segment(segment) for segment in segments]
    aligned, interpolated = pieces_of(timed), pieces_of(replace(segment, words=None) for segment in timed)
    if [piece.text for piece in aligned] != [piece.text for piece in interpolated]:
        return []
    return [abs(one.start - other.start) for one, other in zip(aligned, interpolated, strict=True)]


def _segment(fields: dict[str, Any]) -> Segment:
    words = tuple(Word(**word) for word in fields["words"])
    return Segment(
        id=fields["id"], start=fields["start"], end=fields["end"], text=fields["text"], tokens=(), avg_logprob=0.0,
        no_speech_prob=0.0, compression_ratio=1.0, temperature=0.0, language=fields["language"], words=words,
    )  # fmt: skip


def _baseline_cues(whisper: faster_whisper.WhisperModel, path: Path) -> list[Cue]:
    segments, _ = whisper.transcribe(str(path), beam_size=5, vad_filter=True)
    return [Cue(segment.start, segment.end, (segment.text.strip(),)) for segment in segments]


def _service_cues(url: str, path: Path, **fields: str) -> list[Cue]:
    text = _post(url, path, response_format="srt", **fields).text
    cues = pysubs2.SSAFile.from_string(text, format_="srt") if text else []
    return [Cue(cue.start / 1000, cue.end / 1000, tuple(cue.plaintext.split("\n"))) for cue in cues]


def _post(url: str, path: Path, **fields: str) -> httpx.Response:
    answer = httpx.post(f"{url}/transcribe", files={"file": path.read_bytes()}, data=fields, timeout=600)
    return answer.raise_for_status()


def _timed(create: Callable[[], list[Cue]]) -> Violations:
    began = time.perf_counter()
    cues = create()
    return violations(cues, time.perf_counter() - began)


def _markdown(runs: dict[str, Violations], differences_s: list[float], paths: list[Path]) -> str:
    rows = [[name, *(str(round(value)) for value in asdict(run).values())] for name, run in runs.items()]
    last_twentieth_s = statistics.quantiles(differences_s, n=20)[-1]
    return f"""# Subtitles

{len(paths)} recordings, Whisper base, int8, {os.cpu_count()} cores. Full-width characters count as two columns.

{table(["", *HEADS], rows)}

For {len(differences_s)} words, the time interpolated within the segment differs from the word timestamp by
{statistics.median(differences_s):.2f} s in the median, and by {last_twentieth_s:.2f} s or more for one word in twenty.

Recordings: {", ".join(path.name for path in paths)}.
"""


def _chosen(folder: Path, names: Sequence[str]) -> list[Path]:
    long = [row["file"] for row in manifest(folder) if (row.get("seconds") or 0) >= _LONG_RECORDING_S]
    return [audio_folder(folder) / name for name in names or long]


def _arguments() -> argparse.Namespace:
    parser = arguments.parser(__doc__, model_used_by="faster-whisper", needs_audio=True)
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--url", required=True, help="the service's URL")
    arguments.add_out(parser, "subtitles")
    return parser.parse_args()


if __name__ == "__main__":
    main()
