"""A benchmark's JSON into a Markdown table with the bars beside it, and plots.

python -m benchmarks.load.report benchmarks/results/load.json
"""

import json
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.common.servers import BASELINES, SEQUENTIAL, SERVICE
from benchmarks.load.bars import Finding, error_differences, findings, wer_points
from benchmarks.load.results import Measure, Results, total

CONTESTANTS = (SERVICE, *BASELINES)


def main() -> None:
    for name in sys.argv[1:]:
        path = Path(name)
        print(write_report(Results.from_json(json.loads(path.read_text(encoding="utf-8"))), path.with_suffix("")))


def write_report(results: Results, out: Path) -> str:
    """Write `out`.md, and `out`.png where matplotlib is installed. Gives the table's text."""
    text = markdown(results)
    if _plotted(results, out.with_suffix(".png")):
        text += f"\n![Throughput, latency, stages, accuracy]({out.name}.png)\n"
    out.with_suffix(".md").write_text(text, encoding="utf-8")
    return text


def markdown(results: Results) -> str:
    parts = [
        "# The service beside faster-whisper",
        "\n".join(f"- {key}: {value}" for key, value in results.about.items()),
    ]
    if found := findings(results):
        parts += ["## Bars", _bars(found)]
    if results.rounds:
        parts += ["## What each did", _turns(results)]
    if compared := {name: rounds for name, rounds in results.rounds.items() if SEQUENTIAL in rounds[0]}:
        parts += ["## Word error rate on the same clips", *(_accuracy(name, results) for name in compared)]
    if results.numbers:
        parts += ["## Other figures", _numbers(results)]
    if results.stages:
        parts += ["## Seconds a request in each stage", _stages(results)]
    return "\n\n".join(parts) + "\n"


def _bars(found: Iterable[Finding]) -> str:
    heads = ("ratio", "bar", "goal", "median", "least to most", "rounds (quiet)", "met")
    return _table(heads, (_bar_row(finding) for finding in found))


def _bar_row(finding: Finding) -> tuple[str, ...]:
    sign = "≥" if finding.bar.at_least else "≤"
    return (
        finding.bar.what,
        f"{sign} {finding.bar.limit:g}",
        f"{sign} {finding.bar.goal:g}" if finding.bar.goal is not None else "",
        f"**{finding.median:.2f}**",
        f"{finding.least:.2f} to {finding.most:.2f}",
        f"{finding.n_rounds} ({finding.n_quiet})",
        "yes" if finding.met else "no",
    )


def _turns(results: Results) -> str:
    """Medians over the rounds; `others` is the most that other processes took of the machine in any of them."""
    heads = ("load", "who", "requests/s", "× real time", "p50 s", "p95 s", "p99 s", "unanswered", "others, cores")
    rows = (
        _turn_row(name, who, [turn[who] for turn in rounds])
        for name, rounds in results.rounds.items()
        for who in CONTESTANTS
        if who in rounds[0]
    )
    return _table(heads, rows)


def _turn_row(name: str, who: str, measures: Sequence[Measure]) -> tuple[str, ...]:
    medians = [
        statistics.median(getattr(measure, field) for measure in measures)
        for field in ("requests_per_s", "audio_s_per_s", "p50_s", "p95_s", "p99_s")
    ]
    unanswered = f"{sum(measure.n_unanswered for measure in measures)} of {sum(measure.n for measure in measures)}"
    others = max(measure.others_cores for measure in measures)
    return (name, who, *(f"{value:.3g}" for value in medians), unanswered, f"{others:.2f}")


def _accuracy(name: str, results: Results) -> str:
    rounds = results.rounds[name]
    sets = error_differences(rounds)
    heads = (name, "words", *(who for who in CONTESTANTS if who in rounds[0]), "service − sequential, points")
    rows = []
    for language, pair in sets.items():
        each = [rounds[0][who].errors for who in CONTESTANTS if who in rounds[0]]
        rates = [(total(errors) if language == "all" else errors[language]).rate for errors in each]
        rows.append(
            (language, str(pair[0].n_words), *(f"{100 * rate:.2f}" for rate in rates), f"{wer_points(pair):+.2f}")
        )
    return _table(heads, rows)


def _numbers(results: Results) -> str:
    rows = [
        (name, ", ".join(f"{field} {value:.3g}" for field, value in turn.items()))
        for name, turns in results.numbers.items()
        for turn in turns
    ]
    return _table(("what", "turn"), rows)


def _stages(results: Results) -> str:
    """The queue is time waited; decode and receive overlap other requests' inference."""
    rows = [(stage, f"{seconds:.3f}") for stage, seconds in sorted(results.stages.items(), key=lambda item: -item[1])]
    return _table(("stage", "s"), rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [heads, ["---"] * len(heads), *rows])


def _plotted(results: Results, path: Path) -> bool:
    try:
        from benchmarks.load.plots import plot  # noqa: PLC0415 - a table needs no matplotlib
    except ModuleNotFoundError:
        return False
    plot(results, path)
    return True


if __name__ == "__main__":
    main()
