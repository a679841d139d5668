"""Word error rate of the service beside faster-whisper's own `WhisperModel.transcribe`: same files, model and beam.

    python benchmarks/wer.py --audio FOLDER --model FOLDER_OR_NAME --url http://127.0.0.1:8000

Without `--url` the baseline alone. Scores follow Whisper's paper (scoring.py); a clip without an answer counts as one
with no words. The table and every clip's counts go to benchmarks/results.
"""

import argparse
import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from contestants import BaselineOptions, Transcripts, baseline, service
from corpus import Clip, read_corpus
from scoring import Errors, count_errors

RESULTS = Path(__file__).parent / "results"
ALL = "all speech"


@dataclass(frozen=True, slots=True)
class Row:
    """One set of clips, as each contestant did on it."""

    name: str
    n_clips: int
    seconds: float
    scores: dict[str, Errors]
    unanswered: dict[str, int]


def main() -> None:
    args = _arguments()
    clips = read_corpus(args.audio)[: args.limit]
    runs, about = _run(clips, args)
    rows = score(clips, runs)
    report = markdown(rows, about)
    print(report)
    _write(args.out, about, rows, clips, runs, report)


def score(clips: list[Clip], runs: dict[str, Transcripts]) -> list[Row]:
    """A row a set of clips with speech, the whole first, then the largest."""
    spoken = [clip for clip in clips if clip.reference]
    sets: dict[str, list[Clip]] = {}
    for clip in spoken:
        sets.setdefault(clip.set_name, []).append(clip)
    rows = [_row(name, members, runs) for name, members in sets.items()]
    return [_row(ALL, spoken, runs), *sorted(rows, key=lambda row: -row.n_clips)]


def markdown(rows: list[Row], about: dict[str, str]) -> str:
    names = list(rows[0].scores)
    heads = ["set", "clips", "minutes", "words", *names] + (["difference"] if len(names) > 1 else [])
    lines = [f"- {key}: {value}" for key, value in about.items()]
    lines += [
        "",
        "Word error rate in percent (characters for zh, ja).",
        "",
        _cells(heads),
        _cells(["---"] * len(heads)),
    ]
    return "\n".join([*lines, *map(_line, rows)]) + "\n"


def _row(name: str, clips: list[Clip], runs: dict[str, Transcripts]) -> Row:
    scores = {who: sum((_errors(clip, texts) for clip in clips), Errors(0, 0)) for who, texts in runs.items()}
    unanswered = {who: sum(texts[clip.path.name] is None for clip in clips) for who, texts in runs.items()}
    return Row(name, len(clips), sum(clip.seconds for clip in clips), scores, unanswered)


def _errors(clip: Clip, transcripts: Transcripts) -> Errors:
    return count_errors(clip.reference, transcripts[clip.path.name] or "", clip.language or "en")


def _line(row: Row) -> str:
    scores = list(row.scores.values())
    cells = [row.name, str(row.n_clips), f"{row.seconds / 60:.1f}", str(scores[0].n_words)]
    cells += [_score(row, who) for who in row.scores]
    if len(scores) > 1:
        cells.append(f"{100 * (scores[1].rate - scores[0].rate):+.2f}")
    return _cells(cells)


def _score(row: Row, who: str) -> str:
    missing = f" ({row.unanswered[who]} unanswered)" if row.unanswered[who] else ""
    return f"{100 * row.scores[who].rate:.2f}{missing}"


def _cells(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _run(clips: list[Clip], args: argparse.Namespace) -> tuple[dict[str, Transcripts], dict[str, str]]:
    options = BaselineOptions(args.model, args.compute_type, args.beam_size, detect_language=args.detect)
    runs = {"faster-whisper": baseline(clips, options, args.cpu_threads, args.baseline_cache)}
    about = _about(clips, options)
    if args.url:
        runs["service"], about["service's model"] = service(
            clips, args.url, args.concurrency, detect_language=args.detect
        )
        about["concurrency"] = str(args.concurrency)
    about |= {f"words where nobody speaks, {who}": str(_invented(clips, texts)) for who, texts in runs.items()}
    return runs, about


def _invented(clips: list[Clip], transcripts: Transcripts) -> int:
    silent = [clip for clip in clips if not clip.reference]
    return sum(len((transcripts[clip.path.name] or "").split()) for clip in silent)


def _about(clips: list[Clip], options: BaselineOptions) -> dict[str, str]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "clips": f"{len(clips)}, of which {sum(not clip.reference for clip in clips)} without speech",
        "model": f"{Path(options.model).name}, {options.compute_type}, beam {options.beam_size}",
        "language": "detected" if options.detect_language else "given",
        "versions": ", ".join(f"{name} {version(name)}" for name in ("faster-whisper", "ctranslate2", "asr-service")),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
    }


def _write(
    out: Path, about: dict[str, str], rows: list[Row], clips: list[Clip], runs: dict[str, Transcripts], report: str
) -> None:
    by_clip = {
        clip.path.name: {who: asdict(_errors(clip, texts)) for who, texts in runs.items()}
        for clip in clips
        if clip.reference
    }
    data = {"about": about, "sets": [asdict(row) for row in rows], "clips": by_clip}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".md").write_text(f"# Word error rate\n\n{report}", encoding="utf-8")
    out.with_suffix(".json").write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    audio = os.environ.get("BENCH_AUDIO")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path, default=audio, required=not audio, help="by default $BENCH_AUDIO")
    parser.add_argument("--url", help="where the service listens; without it the baseline runs alone")
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--model", default="base", help="the baseline's: a name, or a folder in CTranslate2's form")
    parser.add_argument("--compute-type", default="int8")
    parser.add_argument("--beam-size", type=int, default=5)
    parser.add_argument("--cpu-threads", type=int, default=os.cpu_count())
    parser.add_argument("--detect", action="store_true", help="let both find the language; by default it is given")
    parser.add_argument("--baseline-cache", type=Path, help="JSON in which the baseline's transcripts are kept")
    parser.add_argument("--limit", type=int, help="only the first so many clips")
    parser.add_argument("--out", type=Path, default=RESULTS / "wer", help="without its suffix")
    return parser.parse_args()


if __name__ == "__main__":
    main()
