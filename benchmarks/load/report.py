"""Turn a load benchmark's JSON into Markdown tables and plots.

python -m benchmarks.load.report benchmarks/results/load.json
"""

import argparse
import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.common.arguments import plain_parser
from benchmarks.common.report import facts, table
from benchmarks.common.servers import SEQUENTIAL, SERVERS
from benchmarks.load.results import Measure, Results, total
from benchmarks.load.targets import Finding, error_differences, findings, wer_points


def main() -> None:
    for path in _arguments().files:
        print(write_report(Results.from_json(json.loads(path.read_text(encoding="utf-8"))), path.with_suffix("")))


def write_report(results: Results, out: Path) -> str:
    """Write `out`.md, and `out`.png if matplotlib is installed. Returns the Markdown text."""
    text = markdown(results)
    if _plotted(results, out.with_suffix(".png")):
        text += f"\n![Throughput, latency, stages, accuracy]({out.name}.png)\n"
    out.with_suffix(".md").write_text(text, encoding="utf-8")
    return text


def markdown(results: Results) -> str:
    parts = ["# The service compared with faster-whisper", facts(results.about)]
    if found := findings(results):
        parts += ["## Targets", _targets(found)]
    if results.rounds:
        parts += ["## Measurements", _measurements(results)]
    if compared := {name: rounds for name, rounds in results.rounds.items() if SEQUENTIAL in rounds[0]}:
        parts += ["## Word error rate on the same clips", *(_accuracy(name, results) for name in compared)]
    if results.numbers:
        parts += ["## Other figures", _numbers(results)]
    if results.stages:
        parts += ["## Seconds per request in each stage", _stages(results)]
    return "\n\n".join(parts) + "\n"


def _targets(found: Iterable[Finding]) -> str:
    heads = ("ratio", "target", "goal", "median", "least to most", "rounds (undisturbed)", "met")
    return table(heads, (_target_row(finding) for finding in found))


def _target_row(finding: Finding) -> tuple[str, ...]:
    sign = "≥" if finding.target.is_minimum else "≤"
    return (
        finding.target.description,
        f"{sign} {finding.target.limit:g}",
        f"{sign} {finding.target.goal:g}" if finding.target.goal is not None else "",
        f"**{finding.median:.2f}**",
        f"{finding.least:.2f} to {finding.most:.2f}",
        f"{finding.n_rounds} ({finding.n_quiet})",
        "yes" if finding.met else "no",
    )


def _measurements(results: Results) -> str:
    """Format medians over the rounds, and the most cores that other processes used in any round."""
    heads = ("load", "server", "requests/s", "× real time", "p50 s", "p95 s", "p99 s", "unanswered", "others' cores")
    rows = (
        _measurement_row(name, server, [turn[server] for turn in rounds])
        for name, rounds in results.rounds.items()
        for server in SERVERS
        if server in rounds[0]
    )
    return table(heads, rows)


def _measurement_row(name: str, server: str, measures: Sequence[Measure]) -> tuple[str, ...]:
    medians = [
        statistics.median(getattr(measure, field) for measure in measures)
        for field in ("requests_per_s", "audio_s_per_s", "p50_s", "p95_s", "p99_s")
    ]
    unanswered = f"{sum(measure.n_unanswered for measure in measures)} of {sum(measure.n for measure in measures)}"
    others = max(measure.others_cores for measure in measures)
    return (name, server, *(f"{value:.3g}" for value in medians), unanswered, f"{others:.2f}")


def _accuracy(name: str, results: Results) -> str:
    rounds = results.rounds[name]
    present = [server for server in SERVERS if server in rounds[0]]
    rows = []
    for language, pair in error_differences(rounds).items():
        each = [rounds[0][server].errors for server in present]
        rates = [(total(errors) if language == "all" else errors[language]).rate for errors in each]
        rows.append(
            (language, str(pair[0].n_words), *(f"{100 * rate:.2f}" for rate in rates), f"{wer_points(pair):+.2f}")
        )
    return table((name, "words", *present, "service − sequential, points"), rows)


def _numbers(results: Results) -> str:
    rows = [
        (name, ", ".join(f"{field} {value:.3g}" for field, value in turn.items()))
        for name, turns in results.numbers.items()
        for turn in turns
    ]
    return table(("scenario", "round"), rows)


def _stages(results: Results) -> str:
    """Format the stages. The queue is waiting time; decoding and receiving overlap the inference of other requests."""
    rows = [(stage, f"{seconds:.3f}") for stage, seconds in sorted(results.stages.items(), key=lambda item: -item[1])]
    return table(("stage", "s"), rows)


def _plotted(results: Results, path: Path) -> bool:
    try:
        from benchmarks.load.plots import plot  # noqa: PLC0415 - the tables need no matplotlib
    except ModuleNotFoundError:
        return False
    plot(results, path)
    return True


def _arguments() -> argparse.Namespace:
    parser = plain_parser(__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE.json", help="results of benchmarks.load")
    return parser.parse_args()


if __name__ == "__main__":
    main()
