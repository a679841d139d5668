"""Compare the word error rate of the service with faster-whisper's `WhisperModel.transcribe`: same files, model, beam.

    python -m benchmarks.wer --audio FOLDER --model FOLDER_OR_NAME --url http://127.0.0.1:8000

Without `--url`, measures only the baseline. With `--other-pad-ms`, compares the baseline with itself, which shows how
much equally good transcripts differ. Scores follow Whisper's paper (`common.scoring`). A clip without a transcript
counts as one without words. Writes the table and every clip's counts to benchmarks/results.
"""

import argparse
import os
import platform
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.common import arguments
from benchmarks.common.corpus import Clip, read_corpus
from benchmarks.common.report import save
from benchmarks.wer.table import (
    clip_errors,
    largest_differences,
    markdown,
    score,
    score_groups,
    table_of,
    without_wrong_texts,
)
from benchmarks.wer.transcripts import BaselineOptions, Transcripts, add_corpus_options, baseline, service

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
        about["difference"] = (
            f"{args.other_pad_ms} ms of audio kept around speech instead of {options.speech_pad_ms} ms"
        )
    if args.leave_out_above is not None:
        n_before = len(clips)
        clips = without_wrong_texts(clips, runs, args.leave_out_above / 100)
        about["left out"] = (
            f"{n_before - len(clips)} clips, of which every system has more than {args.leave_out_above:g} %"
        )
    _report(clips, runs, about, args.out)


def _report(clips: list[Clip], runs: dict[str, Transcripts], about: dict[str, str], out: Path) -> None:
    rows, groups = score(clips, runs), score_groups(clips, runs)
    by_clip = {system: clip_errors(clips, texts) for system, texts in runs.items()}
    about |= {
        f"words in clips without speech, {system}": str(_n_invented(clips, texts)) for system, texts in runs.items()
    }
    report = f"# Word error rate\n\n{markdown(rows, about)}\n## By half, language and length\n\n{table_of(groups)}"
    if len(runs) > 1:
        before, after = by_clip.values()
        report += f"\n## Largest differences\n\n{largest_differences(before, after)}"
    print(report)
    counts = {system: {name: asdict(errors) for name, errors in clip.items()} for system, clip in by_clip.items()}
    save(out, {"about": about, "sets": [asdict(row) for row in [*rows, *groups]], "clips": counts}, report)


def _n_invented(clips: list[Clip], transcripts: Transcripts) -> int:
    silent = [clip for clip in clips if not clip.reference]
    return sum(len((transcripts[clip.path.name] or "").split()) for clip in silent)


def _about(clips: list[Clip], options: BaselineOptions) -> dict[str, str]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "clips": f"{len(clips)}, of which {sum(not clip.reference for clip in clips)} without speech",
        "model": f"{Path(options.model).name}, {options.compute_type}, beam {options.beam_size}",
        "language": "detected" if options.detect_language else "declared",
        "versions": ", ".join(f"{name} {version(name)}" for name in ("faster-whisper", "ctranslate2", "asr-service")),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
    }


def _arguments() -> argparse.Namespace:
    parser = arguments.parser(__doc__, model_used_by="the baseline", needs_audio=True)
    parser.add_argument("--url", help="the service's URL; without it, only the baseline runs")
    parser.add_argument(
        "--other-pad-ms",
        type=int,
        help="without --url: compare the baseline with itself, keeping this much audio around speech, not 400 ms",
    )
    parser.add_argument(
        "--leave-out-above",
        type=float,
        metavar="PERCENT",
        help="leave out clips of which every system gets more words wrong: their texts may not be what is said",
    )
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--compute-type", default="int8")
    parser.add_argument("--beam-size", type=int, default=5)
    parser.add_argument("--cpu-threads", type=int, default=os.cpu_count())
    parser.add_argument("--detect", action="store_true", help="detect the language; by default it is declared")
    add_corpus_options(parser)
    arguments.add_out(parser, "wer")
    return parser.parse_args()


if __name__ == "__main__":
    main()
