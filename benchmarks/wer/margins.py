"""Word error rate by the margin of the encoder's short context: a service a margin, the same clips through each, in
windows of 30 s at most.

    python -m benchmarks.wer.margins --audio FOLDER --model FOLDER_OR_NAME --baseline-cache FILE

Beside each: windows done again at full context, and the seconds that the model's calls took (encode and generate,
summed by the service). The table, every clip's counts and the curve go to benchmarks/results after each margin; margins
that are there already are kept, so that a run that was cut short goes on.
"""

import argparse
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import matplotlib as mpl
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.common import arguments

mpl.use("Agg")

from matplotlib import pyplot as plt

from benchmarks.common.corpus import Clip, read_corpus
from benchmarks.common.machine import Watch, machine
from benchmarks.common.models import model_folder
from benchmarks.common.report import RESULTS
from benchmarks.common.scoring import Errors
from benchmarks.common.servers import SERVICE, Stage, leave_on_sigterm, running
from benchmarks.wer.table import clip_errors, interval
from benchmarks.wer.transcripts import BaselineOptions, baseline, service

FULL = "full"
BASELINE = "faster-whisper"

_HEAD = ("margin", "wrong, %", "against full, 95 % interval", "done again", "encode s", "generate s", "others' cores")


@dataclass(frozen=True, slots=True)
class Point:
    """One margin's run. The seconds are sums over the model's calls; `others_cores` is what else the machine did."""

    margin: str
    clips: dict[str, Errors]
    redone: int
    encode_s: float
    generate_s: float
    others_cores: float


def main() -> None:
    leave_on_sigterm()
    args = _arguments()
    clips = read_corpus(args.audio)[: args.limit]
    folder = str(model_folder(args.model))
    texts = baseline(
        clips, BaselineOptions(args.model, detect_language=False), os.cpu_count() or 1, args.baseline_cache
    )
    reference = clip_errors(clips, texts)
    about = machine() | {"model": f"{Path(args.model).name}, int8, beam 5, language given", "clips": str(len(clips))}
    points = _read(args.out, len(reference))
    for margin in args.margins:
        if margin not in points:
            points[margin] = _measure(margin, clips, Path(folder), args.concurrency)
            _write(args.out, about, reference, points)
    _write(args.out, about, reference, points)
    print(_markdown(about, reference, points))


def _measure(margin: str, clips: list[Clip], model: Path, concurrency: int) -> Point:
    setting = {"ASR_ENCODER_CONTEXT": FULL} if margin == FULL else {"ASR_ENCODER_MARGIN_S": margin}
    setting["ASR_CHUNK_LENGTH_S"] = "30"  # full contexts have windows of 30 s: the margin alone is to differ
    with (
        tempfile.TemporaryDirectory() as folder,
        running(SERVICE, Stage(model, "int8", Path(folder), settings=setting)) as server,
    ):
        before, watch = _scrape(server.url), Watch.start()
        texts, _ = service(clips, server.url, concurrency, detect_language=False)
        after, others = _scrape(server.url), watch.others_cores()
    redone, encode_s, generate_s = (after[key] - before.get(key, 0.0) for key in ("redone", "encode", "generate"))
    print(f"margin {margin}: {redone:.0f} windows done again, {encode_s + generate_s:.0f} s in the model", flush=True)
    return Point(margin, clip_errors(clips, texts), round(redone), encode_s, generate_s, others)


def _scrape(url: str) -> dict[str, float]:
    """Windows done again at full context, and seconds in the model's calls by stage."""
    read = {"redone": 0.0}
    for family in text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=10).text):
        for sample in family.samples:
            if sample.name == "asr_stage_duration_seconds_sum":
                read[sample.labels["stage"]] = sample.value
            elif sample.name == "asr_fallbacks_total" and sample.labels["reason"] == "full_context":
                read["redone"] = sample.value
    return read


def _write(out: Path, about: dict[str, str], reference: dict[str, Errors], points: dict[str, Point]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    data = {"about": about, BASELINE: _rate(reference), "points": [asdict(points[name]) for name in _order(points)]}
    out.with_suffix(".json").write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(_markdown(about, reference, points), encoding="utf-8")
    _plot(out.with_suffix(".png"), reference, points)


def _read(out: Path, n_clips: int) -> dict[str, Point]:
    """Give what an earlier run over as many clips has kept."""
    file = out.with_suffix(".json")
    kept = json.loads(file.read_text(encoding="utf-8"))["points"] if file.exists() else []
    points = [Point(**point | {"clips": {name: Errors(**e) for name, e in point["clips"].items()}}) for point in kept]
    return {point.margin: point for point in points if len(point.clips) == n_clips}


def _markdown(about: dict[str, str], reference: dict[str, Errors], points: dict[str, Point]) -> str:
    full = points.get(FULL)
    lines = [
        "# Word error rate by the encoder's margin",
        "",
        *(f"- {key}: {value}" for key, value in about.items()),
        "",
    ]
    lines += [f"- faster-whisper, full context: {_rate(reference):.2f} %", ""]
    lines += [_row(_HEAD), _row(("---",) * len(_HEAD))]
    for name in _order(points):
        point = points[name]
        against = interval(full.clips, point.clips) if full and point is not full else ""
        seconds = (f"{point.encode_s:.0f}", f"{point.generate_s:.0f}", f"{point.others_cores:.1f}")
        lines.append(_row((_label(name), f"{_rate(point.clips):.2f}", against, str(point.redone), *seconds)))
    return "\n".join(lines) + "\n"


def _plot(path: Path, reference: dict[str, Errors], points: dict[str, Point]) -> None:
    names = _order(points)
    figure, (accuracy, cost) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    labels = [_label(name) for name in names]
    accuracy.plot(labels, [_rate(points[name].clips) for name in names], marker="o", color="tab:green", label=SERVICE)
    accuracy.axhline(_rate(reference), color="tab:gray", linestyle="--", label=BASELINE)
    accuracy.set(title="Words wrong, %", xlabel="margin")
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
    return "30 s always" if margin == FULL else f"{margin} s"


def _rate(clips: dict[str, Errors]) -> float:
    return 100 * sum(clips.values(), Errors(0, 0)).rate


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


def _arguments() -> argparse.Namespace:
    parser = arguments.parser(__doc__, needs_audio=True)
    parser.add_argument("--margins", nargs="+", default=["1.5", "2.5", "4", "6", FULL], help="seconds, or full")
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--baseline-cache", type=Path, help="JSON in which the baseline's transcripts are kept")
    parser.add_argument("--limit", type=int, help="only the first so many clips")
    parser.add_argument("--out", type=Path, default=RESULTS / "margins", help="without its suffix")
    return parser.parse_args()


if __name__ == "__main__":
    main()
