"""Word error rate of the service beside faster-whisper's own `WhisperModel.transcribe`: same files, model and beam.

    python -m benchmarks.wer --audio FOLDER --model FOLDER_OR_NAME --url http://127.0.0.1:8000

Without `--url` the baseline alone, or beside itself (`--other-pad-ms`): how far apart two transcripts of equal worth
are. Scores follow Whisper's paper (scoring.py); a clip without an answer counts as one with no words. The table and
every clip's counts go to benchmarks/results.
"""

import argparse
import json
import os
import platform
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.common import arguments
from benchmarks.common.corpus import Clip, read_corpus
from benchmarks.common.report import RESULTS
from benchmarks.wer.table import clip_errors, largest_differences, markdown, score
from benchmarks.wer.transcripts import BaselineOptions, Transcripts, baseline, service

BASELINE, SERVICE = "faster-whisper", "service"


def main() -> None:
    args = _arguments()
    clips = read_corpus(args.audio)[: args.limit]
    options = BaselineOptions(args.model, args.compute_type, args.beam_size, detect_language=args.detect)
    about = _about(clips, options)
    runs = {BASELINE: baseline(clips, options, args.cpu_threads, args.baseline_cache)}
    if args.url:
        runs[SERVICE], about["service's model"] = service(
            clips, args.url, args.concurrency, detect_language=args.detect
        )
        about["concurrency"] = str(args.concurrency)
    elif args.other_pad_ms:
        other = replace(options, speech_pad_ms=args.other_pad_ms)
        runs[f"{args.other_pad_ms} ms"] = baseline(clips, other, args.cpu_threads, args.baseline_cache)
        about["difference"] = f"{args.other_pad_ms} ms kept around speech instead of {options.speech_pad_ms}"
    _report(clips, runs, about, args.out)


def _report(clips: list[Clip], runs: dict[str, Transcripts], about: dict[str, str], out: Path) -> None:
    rows = score(clips, runs)
    by_clip = {who: clip_errors(clips, texts) for who, texts in runs.items()}
    about |= {f"words where nobody speaks, {who}": str(_invented(clips, texts)) for who, texts in runs.items()}
    report = f"# Word error rate\n\n{markdown(rows, about)}"
    if len(runs) > 1:
        before, after = by_clip.values()
        report += f"\n## Where they differ most\n\n{largest_differences(before, after)}"
    print(report)
    counts = {who: {name: asdict(errors) for name, errors in clip.items()} for who, clip in by_clip.items()}
    _write(out, report, {"about": about, "sets": [asdict(row) for row in rows], "clips": counts})


def _write(out: Path, report: str, data: dict[str, object]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".md").write_text(report, encoding="utf-8")
    out.with_suffix(".json").write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


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


def _arguments() -> argparse.Namespace:
    parser = arguments.parser(__doc__, model_is="the baseline's: ", needs_audio=True)
    parser.add_argument("--url", help="where the service listens; without it the baseline runs alone")
    parser.add_argument(
        "--other-pad-ms",
        type=int,
        help="without --url: the baseline against itself, with so much kept around speech (400 by default)",
    )
    parser.add_argument("--concurrency", type=int, default=8)
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
