"""Subtitles of the service beside faster-whisper's segments as cues: how many of them break the rules of the trade.

    python -m benchmarks.subtitles --audio FOLDER --model FOLDER_OR_NAME --url http://127.0.0.1:8000 FILE...

`FOLDER` has a manifest.jsonl, as corpus.py reads it. Without FILEs those of two minutes and more are taken. The service
is asked twice for each: as it is, and with `word_timestamps=false`. Its words, timed and by their share of their
segments, are then compared. Tables and figures go to benchmarks/results.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import faster_whisper
import httpx
import pysubs2

from asr_service.formats.subtitles.pieces import columns, pieces_of
from asr_service.transcript import Segment, Word
from benchmarks.common import arguments
from benchmarks.common.report import RESULTS

WIDTH, LINES, LONGEST_S, SHORTEST_S, FASTEST = 42, 2, 7.0, 1.0, 20.0


@dataclass(frozen=True, slots=True)
class Shown:
    """A cue as a viewer gets it."""

    start_s: float
    end_s: float
    lines: tuple[str, ...]

    @property
    def speed(self) -> float:
        """Columns a second."""
        return sum(map(columns, self.lines)) / max(self.end_s - self.start_s, 0.001)


@dataclass(frozen=True, slots=True)
class Faults:
    """Cues that break a rule."""

    cues: int
    wide: int
    tall: int
    long: int
    short: int
    fast: int
    seconds: float

    def __add__(self, other: "Faults") -> "Faults":
        mine, theirs = asdict(self), asdict(other)
        return Faults(**{name: mine[name] + theirs[name] for name in mine})


def faults(cues: Sequence[Shown], seconds: float) -> Faults:
    return Faults(
        cues=len(cues),
        wide=sum(any(columns(line) > WIDTH for line in cue.lines) for cue in cues),
        tall=sum(len(cue.lines) > LINES for cue in cues),
        long=sum(cue.end_s - cue.start_s > LONGEST_S + 0.001 for cue in cues),
        short=sum(cue.end_s - cue.start_s < SHORTEST_S - 0.001 for cue in cues),
        fast=sum(cue.speed > FASTEST + 0.1 for cue in cues),
        seconds=seconds,
    )


def main() -> None:
    args = _arguments()
    paths = _chosen(args.audio, args.files)
    whisper = faster_whisper.WhisperModel(args.model, compute_type="int8")
    runs: dict[str, Faults] = {}
    gaps_s: list[float] = []
    for path in paths:
        print(path.name, flush=True)
        runs |= _added(runs, "faster-whisper's segments", _timed(lambda path=path: _segments(whisper, path)))
        for name, fields in (("service", {}), ("service, word_timestamps=false", {"word_timestamps": "false"})):
            runs |= _added(runs, name, _timed(lambda path=path, fields=fields: _subtitles(args.url, path, fields)))
        gaps_s += word_gaps(_ask(args.url, path, word_timestamps="true").json()["segments"])
    report = _markdown(runs, gaps_s, paths)
    print(report)
    data = {"files": [path.name for path in paths], "runs": {name: asdict(run) for name, run in runs.items()}}
    args.out.with_suffix(".md").write_text(report, encoding="utf-8")
    args.out.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def word_gaps(segments: Iterable[dict[str, Any]]) -> list[float]:
    """Seconds between where each word is heard and where its share of its segment would have it."""
    timed = [_segment(segment) for segment in segments]
    heard, shared = pieces_of(timed), pieces_of(replace(segment, words=None) for segment in timed)
    if [piece.text for piece in heard] != [piece.text for piece in shared]:
        return []
    return [abs(one.start - other.start) for one, other in zip(heard, shared, strict=True)]


def _segment(fields: dict[str, Any]) -> Segment:
    words = tuple(Word(**word) for word in fields["words"])
    return Segment(
        id=fields["id"], start=fields["start"], end=fields["end"], text=fields["text"], tokens=(), avg_logprob=0.0,
        no_speech_prob=0.0, compression_ratio=1.0, temperature=0.0, language=fields["language"], words=words,
    )  # fmt: skip


def _segments(whisper: faster_whisper.WhisperModel, path: Path) -> list[Shown]:
    segments, _ = whisper.transcribe(str(path), beam_size=5, vad_filter=True)
    return [Shown(segment.start, segment.end, (segment.text.strip(),)) for segment in segments]


def _subtitles(url: str, path: Path, fields: dict[str, str]) -> list[Shown]:
    text = _ask(url, path, response_format="srt", **fields).text
    cues = pysubs2.SSAFile.from_string(text, format_="srt") if text else []
    return [Shown(cue.start / 1000, cue.end / 1000, tuple(cue.plaintext.split("\n"))) for cue in cues]


def _ask(url: str, path: Path, **fields: str) -> httpx.Response:
    answer = httpx.post(f"{url}/transcribe", files={"file": path.read_bytes()}, data=fields, timeout=600)
    return answer.raise_for_status()


def _timed(work: Any) -> Faults:
    began = time.perf_counter()
    cues = work()
    return faults(cues, time.perf_counter() - began)


def _added(runs: dict[str, Faults], name: str, new: Faults) -> dict[str, Faults]:
    return {name: runs[name] + new if name in runs else new}


def _markdown(runs: dict[str, Faults], gaps_s: list[float], paths: list[Path]) -> str:
    columns_of = [
        "cues", f"over {WIDTH} characters a line", f"over {LINES} lines", f"over {LONGEST_S:.0f} s",
        f"under {SHORTEST_S:.0f} s", f"over {FASTEST:.0f} characters/s", "seconds to make",
    ]  # fmt: skip
    rows = [["", *columns_of], ["---"] * (len(columns_of) + 1)]
    for name, run in runs.items():
        counts = (run.cues, run.wide, run.tall, run.long, run.short, run.fast, round(run.seconds))
        rows.append([name, *map(str, counts)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    late_s = statistics.quantiles(gaps_s, n=20)[-1]
    return f"""# Subtitles

{len(paths)} recordings, Whisper base, int8, {os.cpu_count()} cores. Full-width characters count twice.

{table}

Of {len(gaps_s)} words, those timed by their share of their segment stand {statistics.median(gaps_s):.2f} s
in the median from where they are heard, and a twentieth of them {late_s:.2f} s and more.

Recordings: {", ".join(path.name for path in paths)}.
"""


def _chosen(folder: Path, names: Sequence[str]) -> list[Path]:
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    long = [row["file"] for row in rows if (row.get("seconds") or 0) >= 120]
    files = folder / "files" if (folder / "files").is_dir() else folder
    return [files / name for name in names or long]


def _arguments() -> argparse.Namespace:
    parser = arguments.parser(__doc__, model_is="faster-whisper's: ", needs_audio=True)
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--url", required=True, help="where the service listens")
    parser.add_argument("--out", type=Path, default=RESULTS / "subtitles", help="without its suffix")
    return parser.parse_args()


if __name__ == "__main__":
    main()
