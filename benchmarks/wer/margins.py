"""Measure the word error rate with different margins of the encoder's short context.

    python -m benchmarks.wer.margins --audio FOLDER --model FOLDER_OR_NAME --baseline-cache FILE

Starts a service for each margin and sends the same clips to each, in windows of at most 30 s. Also measures how many
windows were decoded again with the full context, and the seconds spent in the model's encode and generate calls. Writes
the table, every clip's counts and a plot to benchmarks/results after each margin. Margins in the results of an earlier
run are not measured again, so that an interrupted run continues.
"""

import argparse
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib as mpl

from benchmarks.common import arguments

mpl.use("Agg")

from matplotlib import pyplot as plt

from benchmarks.common.corpus import Clip, read_corpus
from benchmarks.common.machine import Watch, machine
from benchmarks.common.models import model_folder
from benchmarks.common.prometheus import scrape, stage_seconds
from benchmarks.common.report import facts, save, table
from benchmarks.common.scoring import Errors
from benchmarks.common.servers import SERVICE, ServerConfig, exit_on_sigterm, running
from benchmarks.wer.table import clip_errors, interval
from benchmarks.wer.transcripts import BaselineOptions, add_corpus_options, baseline, service

FULL = "full"
BASELINE = "faster-whisper"

_HEADS = ("margin", "WER, %", "minus full, 95 % interval", "decoded again", "encode s", "generate s", "others' cores")


@dataclass(frozen=True, slots=True)
class Point:
    """The measurements of one margin. The seconds are sums over the model's calls."""

    margin: str
    clips: dict[str, Errors]
    redone: int
    encode_s: float
    generate_s: float
    others_cores: float
    """Cores that other processes used meanwhile."""


def main() -> None:
    exit_on_sigterm()
    args = _arguments()
    clips = read_corpus(args.audio)[: args.limit]
    folder = str(model_folder(args.model))
    texts = baseline(
        clips, BaselineOptions(args.model, detect_language=False), os.cpu_count() or 1, args.baseline_cache
    )
    reference = clip_errors(clips, texts)
    about = machine() | {"model": f"{Path(args.model).name}, int8, beam 5, language declared", "clips": str(len(clips))}
    points = _read_points(args.out, len(reference))
    for margin in args.margins:
        if margin not in points:
            points[margin] = _measure(margin, clips, Path(folder), args.concurrency)
            _write(args.out, about, reference, points)
    _write(args.out, about, reference, points)
    print(_markdown(about, reference, points))


def _measure(margin: str, clips: list[Clip], model: Path, concurrency: int) -> Point:
    setting = {"ASR_ENCODER_CONTEXT": FULL} if margin == FULL else {"ASR_ENCODER_MARGIN_S": margin}
    setting["ASR_CHUNK_LENGTH_S"] = "30"  # with a full context windows have 30 s; only the margin may differ
    with (
        tempfile.TemporaryDirectory() as folder,
        running(SERVICE, ServerConfig(model, "int8", Path(folder), settings=setting)) as server,
    ):
        before, watch = _totals(server.url), Watch.start()
        texts, _ = service(clips, server.url, concurrency, detect_language=False)
        after, others = _totals(server.url), watch.others_cores()
    redone, encode_s, generate_s = (after[key] - before.get(key, 0.0) for key in ("redone", "encode", "generate"))
    print(
        f"margin {margin}: {redone:.0f} windows decoded again, {encode_s + generate_s:.0f} s in the model", flush=True
    )
    return Point(margin, clip_errors(clips, texts), round(redone), encode_s, generate_s, others)


def _totals(url: str) -> dict[str, float]:
    """Return the number of windows decoded again with the full context, and the seconds in each stage."""
    samples = scrape(url)
    redone = [
        sample.value
        for sample in samples
        if sample.name == "asr_fallbacks_total" and sample.labels["reason"] == "full_context"
    ]
    return {"redone": sum(redone)} | stage_seconds(samples)


def _write(out: Path, about: dict[str, str], reference: dict[str, Errors], points: dict[str, Point]) -> None:
    data = {"about": about, BASELINE: _rate(reference), "points": [asdict(points[name]) for name in _order(points)]}
    save(out, data, _markdown(about, reference, points))
    _plot(out.with_suffix(".png"), reference, points)


def _read_points(out: Path, n_clips: int) -> dict[str, Point]:
    """Return the points of an earlier run with the same number of clips."""
    file = out.with_suffix(".json")
    rows = json.loads(file.read_text(encoding="utf-8"))["points"] if file.exists() else []
    points = [Point(**row | {"clips": {name: Errors(**e) for name, e in row["clips"].items()}}) for row in rows]
    return {point.margin: point for point in points if len(point.clips) == n_clips}


def _markdown(about: dict[str, str], reference: dict[str, Errors], points: dict[str, Point]) -> str:
    full = points.get(FULL)
    rows = []
    for name in _order(points):
        point = points[name]
        difference = interval(full.clips, point.clips) if full and point is not full else ""
        seconds = (f"{point.encode_s:.0f}", f"{point.generate_s:.0f}", f"{point.others_cores:.1f}")
        rows.append((_label(name), f"{_rate(point.clips):.2f}", difference, str(point.redone), *seconds))
    head = facts(about | {"faster-whisper, full context": f"{_rate(reference):.2f} %"})
    return "\n\n".join(["# Word error rate by the encoder's margin", head, table(_HEADS, rows)]) + "\n"


def _plot(path: Path, reference: dict[str, Errors], points: dict[str, Point]) -> None:
    names = _order(points)
    figure, (accuracy, cost) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    labels = [_label(name) for name in names]
    accuracy.plot(labels, [_rate(points[name].clips) for name in names], marker="o", color="tab:green", label=SERVICE)
    accuracy.axhline(_rate(reference), color="tab:gray", linestyle="--", label=BASELINE)
    accuracy.set(title="Word error rate, %", xlabel="margin")
    accuracy.legend()
    cost.bar(labels, [points[name].encode_s for name in names], label="encode")
    below = [points[name].encode_s for name in names]
    cost.bar(labels, [points[name].generate_s for name in names], bottom=below, label="generate")
    cost.set(title="Seconds in the model's calls", xlabel="margin")
    cost.legend()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _order(points: dict[str, Point]) -> list[str]:
    return sorted(points, key=lambda name: float("inf") if name == FULL else float(name))


def _label(margin: str) -> str:
    return "full context" if margin == FULL else f"{margin} s"


def _rate(clips: dict[str, Errors]) -> float:
    return 100 * sum(clips.values(), Errors(0, 0)).rate


def _arguments() -> argparse.Namespace:
    parser = arguments.parser(__doc__, needs_audio=True)
    parser.add_argument("--margins", nargs="+", default=["1.5", "2.5", "4", "6", FULL], help="seconds, or `full`")
    parser.add_argument("--concurrency", type=int, default=4)
    add_corpus_options(parser)
    arguments.add_out(parser, "margins")
    return parser.parse_args()


if __name__ == "__main__":
    main()
