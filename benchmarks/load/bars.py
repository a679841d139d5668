"""What is promised, and how a run of the benchmark stands to it: ratios within one round, never absolute times."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from benchmarks.common.scoring import Errors
from benchmarks.common.servers import BASELINES, BATCHED, SEQUENTIAL, SERVICE
from benchmarks.load.results import Measure, Results, Round, total

_QUIET_CORES = 0.3
"""A round in which others took more than this is left out where there is a quieter one."""


@dataclass(frozen=True, slots=True)
class Bar:
    what: str
    limit: float
    goal: float | None = None
    at_least: bool = False
    """Else at most."""

    def met_by(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True, slots=True)
class Finding:
    """A ratio with its spread over the rounds."""

    key: str
    bar: Bar
    median: float
    least: float
    most: float
    n_rounds: int
    n_quiet: int

    @property
    def met(self) -> bool:
        return self.bar.met_by(self.median)


_THROUGHPUT = attrgetter("requests_per_s")
_LATENCY = attrgetter("p50_s")

_FASTER: Mapping[str, Bar] = {
    "clip c16": Bar("requests/s, one clip of 11 s, concurrency 16, over the better baseline's", 6, 8, at_least=True),
    "mixed": Bar("requests/s, clips of 2 to 25 s, languages mixed and not told, the same", 4, 6, at_least=True),
}
_SOLO = Bar("p50 of one clip alone, of the better baseline's", 0.4, 0.3)
_LONG = Bar("time for one file of 10 min, of BatchedInferencePipeline's (batch 8)", 0.5)
_NUMBERS: Mapping[tuple[str, str], Bar] = {
    ("short beside long", "p95_ratio"): Bar("p95 of a 5 s clip beside a file of an hour, over its p50 alone", 3),
    ("engine", "of_engine"): Bar(
        "requests/s of the service over those of its engine without HTTP", 0.92, at_least=True
    ),
    ("first answer", "ratio"): Bar("model on disk to first answer, over loading and transcribing bare", 1.2),
}


def findings(results: Results) -> list[Finding]:
    """Compare what was measured with its bars; what was not measured is left out."""
    rounds, numbers = results.rounds, results.numbers
    found = [_against_better(rounds[name], name, bar, _THROUGHPUT) for name, bar in _FASTER.items() if name in rounds]
    if "solo" in rounds:
        found.append(_against_better(rounds["solo"], "solo", _SOLO, _LATENCY))
    if "long file" in rounds and BATCHED in rounds["long file"][0]:
        found.append(_ratio("long file", _LONG, rounds["long file"], _LATENCY, BATCHED))
    for (name, field), bar in _NUMBERS.items():
        found += [_of_numbers(numbers[name], name, field, bar)] if name in numbers else []
    return found


def regressions(results: Results, expectations: Mapping[str, float]) -> list[str]:
    """Say which ratios are worse than expected: at least or at most, as their bars are; `... WER points` at most."""
    worse = []
    for finding in findings(results):
        expected = expectations.get(finding.key)
        if expected is not None and not replace(finding.bar, limit=expected).met_by(finding.median):
            worse.append(f"worse than expected: {finding.bar.what}: {finding.median:.2f}, not {expected:g}")
    for name, rounds in results.rounds.items():
        expected = expectations.get(f"{name} WER points")
        if expected is not None and (points := wer_points(error_differences(rounds)["all"])) > expected:
            worse.append(f"worse than expected: word error rate, {name}: {points:+.2f} points, not {expected:g}")
    return worse


def error_differences(rounds: Sequence[Round]) -> dict[str, tuple[Errors, Errors]]:
    """By language, and `all`: the errors of sequential and of the service on the same clips, first round."""
    ours, theirs = rounds[0][SERVICE].errors, rounds[0][SEQUENTIAL].errors
    both = {language: (theirs[language], ours[language]) for language in sorted(ours) if language in theirs}
    return both | {"all": (total(theirs), total(ours))}


def wer_points(pair: tuple[Errors, Errors]) -> float:
    """Points of word error rate that the second has more than the first."""
    return 100 * (pair[1].rate - pair[0].rate)


def _against_better(rounds: Sequence[Round], name: str, bar: Bar, value: Callable[[Measure], float]) -> Finding:
    best = max if bar.at_least else min
    present = [who for who in BASELINES if who in rounds[0]]
    better = best(present, key=lambda who: statistics.median(value(turn[who]) for turn in rounds))
    return _ratio(name, bar, rounds, value, better)


def _ratio(name: str, bar: Bar, rounds: Sequence[Round], value: Callable[[Measure], float], than: str) -> Finding:
    quiet = [turn for turn in rounds if max(turn[who].others_cores for who in (SERVICE, than)) <= _QUIET_CORES]
    ratios = [value(turn[SERVICE]) / value(turn[than]) for turn in quiet or rounds]
    return _finding(name, bar, ratios, len(rounds), len(quiet))


def _of_numbers(turns: Sequence[Mapping[str, float]], name: str, field: str, bar: Bar) -> Finding:
    quiet = [turn for turn in turns if turn.get("others_cores", 0.0) <= _QUIET_CORES]
    return _finding(name, bar, (turn[field] for turn in quiet or turns), len(turns), len(quiet))


def _finding(name: str, bar: Bar, ratios: Iterable[float], n_rounds: int, n_quiet: int) -> Finding:
    ratios = sorted(ratios)
    return Finding(name, bar, statistics.median(ratios), ratios[0], ratios[-1], n_rounds, n_quiet)
