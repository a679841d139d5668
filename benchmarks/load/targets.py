"""The targets of the load benchmark, and how a run compares with them.

All targets are ratios within one round. Absolute times depend too much on the machine.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from benchmarks.common.scoring import Errors
from benchmarks.common.servers import BASELINES, BATCHED, SEQUENTIAL, SERVICE, TUNED
from benchmarks.load.results import Measure, Results, Round, total

_QUIET_CORES = 0.3
"""Rounds in which other processes used more cores are left out if there is a quieter round."""


@dataclass(frozen=True, slots=True)
class Target:
    description: str
    limit: float
    goal: float | None = None
    """A stricter value that a later version should reach."""
    is_minimum: bool = False
    """Whether `limit` is a minimum. Otherwise it is a maximum."""

    def met_by(self, value: float) -> bool:
        return value >= self.limit if self.is_minimum else value <= self.limit


@dataclass(frozen=True, slots=True)
class Finding:
    """A measured ratio with its spread over the rounds."""

    key: str
    target: Target
    median: float
    least: float
    most: float
    n_rounds: int
    n_quiet: int

    @property
    def met(self) -> bool:
        return self.target.met_by(self.median)


_THROUGHPUT = attrgetter("requests_per_s")
_LATENCY = attrgetter("p50_s")

_THROUGHPUT_TARGETS: Mapping[str, Target] = {
    "clip c16": Target(
        "requests/s with one clip of 11 s at concurrency 16, relative to the better baseline", 6, 8, is_minimum=True
    ),
    "mixed": Target(
        "requests/s with clips of 2 to 25 s in several undeclared languages, relative to the better baseline",
        4,
        6,
        is_minimum=True,
    ),
}
_SOLO = Target("p50 latency of a single clip, relative to the better baseline", 0.4, 0.3)
_TUNED = Target(
    "requests/s with one clip of 11 s at concurrency 16, relative to a worker of one thread for each core",
    3.5,
    is_minimum=True,
)
_LONG = Target("time for one file of 10 min, relative to BatchedInferencePipeline (batch 8)", 0.5)
_HALF_AN_HOUR = Target("time for one file of 30 min, relative to BatchedInferencePipeline (batch 8)", 0.5)
_NUMBERS: Mapping[tuple[str, str], Target] = {
    ("short beside long", "p95_ratio"): Target(
        "p95 latency of a 5 s clip while a file of an hour runs, relative to its p50 alone", 3
    ),
    ("engine", "of_engine"): Target(
        "requests/s of the service, relative to its engine without HTTP", 0.92, is_minimum=True
    ),
    ("first answer", "ratio"): Target(
        "time from start to the first transcript, relative to a script that loads and transcribes", 1.2
    ),
}


def findings(results: Results) -> list[Finding]:
    """Compare the measurements with their targets. Scenarios that were not measured are left out."""
    rounds, numbers = results.rounds, results.numbers
    found = [
        _against_better(rounds[name], name, target, _THROUGHPUT)
        for name, target in _THROUGHPUT_TARGETS.items()
        if name in rounds
    ]
    if "solo" in rounds:
        found.append(_against_better(rounds["solo"], "solo", _SOLO, _LATENCY))
    if "clip c16" in rounds and TUNED in rounds["clip c16"][0]:
        found.append(_ratio("clip c16 tuned", _TUNED, rounds["clip c16"], _THROUGHPUT, TUNED))
    for name, target in (("long file", _LONG), ("half an hour", _HALF_AN_HOUR)):
        if name in rounds and BATCHED in rounds[name][0]:
            found.append(_ratio(name, target, rounds[name], _LATENCY, BATCHED))
    for (name, field), target in _NUMBERS.items():
        found += [_of_numbers(numbers[name], name, field, target)] if name in numbers else []
    return found


def regressions(results: Results, expectations: Mapping[str, float]) -> list[str]:
    """Return a message for each ratio that is worse than expected.

    Expected ratios are minima or maxima as in their targets. `NAME WER points` is a maximum.
    """
    worse = []
    for finding in findings(results):
        expected = expectations.get(finding.key)
        if expected is not None and not replace(finding.target, limit=expected).met_by(finding.median):
            worse.append(f"Worse than expected: {finding.target.description}: {finding.median:.2f}, not {expected:g}.")
    for name, rounds in results.rounds.items():
        expected = expectations.get(f"{name} WER points")
        if expected is not None and (points := wer_points(error_differences(rounds)["all"])) > expected:
            worse.append(f"Worse than expected: word error rate, {name}: {points:+.2f} points, not {expected:g}.")
    return worse


def error_differences(rounds: Sequence[Round]) -> dict[str, tuple[Errors, Errors]]:
    """Return the errors of the sequential baseline and of the service on the same clips of the first round.

    The keys are languages, and `all` for their sum.
    """
    ours, theirs = rounds[0][SERVICE].errors, rounds[0][SEQUENTIAL].errors
    both = {language: (theirs[language], ours[language]) for language in sorted(ours) if language in theirs}
    return both | {"all": (total(theirs), total(ours))}


def wer_points(pair: tuple[Errors, Errors]) -> float:
    """Return by how many percentage points the second word error rate is higher than the first."""
    return 100 * (pair[1].rate - pair[0].rate)


def _against_better(rounds: Sequence[Round], name: str, target: Target, value: Callable[[Measure], float]) -> Finding:
    best = max if target.is_minimum else min
    present = [baseline for baseline in BASELINES if baseline in rounds[0]]
    better = best(present, key=lambda baseline: statistics.median(value(turn[baseline]) for turn in rounds))
    return _ratio(name, target, rounds, value, better)


def _ratio(
    name: str, target: Target, rounds: Sequence[Round], value: Callable[[Measure], float], baseline: str
) -> Finding:
    quiet = [
        turn for turn in rounds if max(turn[server].others_cores for server in (SERVICE, baseline)) <= _QUIET_CORES
    ]
    ratios = [value(turn[SERVICE]) / value(turn[baseline]) for turn in quiet or rounds]
    return _finding(name, target, ratios, len(rounds), len(quiet))


def _of_numbers(turns: Sequence[Mapping[str, float]], name: str, field: str, target: Target) -> Finding:
    quiet = [turn for turn in turns if turn.get("others_cores", 0.0) <= _QUIET_CORES]
    return _finding(name, target, (turn[field] for turn in quiet or turns), len(turns), len(quiet))


def _finding(name: str, target: Target, ratios: Iterable[float], n_rounds: int, n_quiet: int) -> Finding:
    ratios = sorted(ratios)
    return Finding(name, target, statistics.median(ratios), ratios[0], ratios[-1], n_rounds, n_quiet)
