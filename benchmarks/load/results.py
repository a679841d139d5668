"""What a benchmark measured, as it is kept in JSON: plain numbers by scenario, round and contestant."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.common.client import Answer, Run, score
from benchmarks.common.scoring import Errors

Round = dict[str, "Measure"]
"""By contestant: what each did in one turn of the rounds."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One contestant's turn. `errors` by language; None for what a scenario does not measure."""

    n: int
    n_unanswered: int
    wall_s: float
    requests_per_s: float
    audio_s_per_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    errors: dict[str, Errors]
    others_cores: float
    """Cores that processes which are none of ours were using, so that a disturbed round shows."""

    @classmethod
    def of(cls, run: Run, others_cores: float) -> "Measure":
        return cls(
            n=len(run.answers),
            n_unanswered=len(run.answers) - len(run.good),
            wall_s=run.wall_s,
            requests_per_s=run.requests_per_s,
            audio_s_per_s=run.audio_s_per_s,
            p50_s=run.latency_s(50),
            p95_s=run.latency_s(95),
            p99_s=run.latency_s(99),
            errors=by_language(run.answers),
            others_cores=others_cores,
        )


@dataclass(slots=True)
class Results:
    about: dict[str, str]
    rounds: dict[str, list[Round]] = field(default_factory=dict)
    """By scenario."""
    numbers: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    """By scenario whose turns are a few plain numbers."""
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds a request in each stage of the service, at the highest closed-loop concurrency."""

    def to_json(self) -> dict[str, Any]:
        return {
            "about": self.about,
            "rounds": {name: [_as_dict(each) for each in rounds] for name, rounds in self.rounds.items()},
            "numbers": self.numbers,
            "stages": self.stages,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Results":
        rounds = {
            name: [{who: _measure(measure) for who, measure in each.items()} for each in rounds]
            for name, rounds in data["rounds"].items()
        }
        return cls(data["about"], rounds, data["numbers"], data["stages"])


def by_language(answers: Iterable[Answer]) -> dict[str, Errors]:
    """Count the errors of the first answer to each clip that has a reference."""
    first: dict[str, Answer] = {}
    for answer in answers:
        first.setdefault(answer.clip.path.name, answer)
    counts: dict[str, Errors] = {}
    for answer in first.values():
        if answer.clip.reference and answer.clip.language:
            language = answer.clip.language
            counts[language] = counts.get(language, Errors(0, 0)) + score(answer)
    return counts


def total(errors: Mapping[str, Errors]) -> Errors:
    return sum(errors.values(), Errors(0, 0))


def _measure(data: Mapping[str, Any]) -> Measure:
    errors = {language: Errors(**counts) for language, counts in data["errors"].items()}
    numbers = {name: math.nan if value is None else value for name, value in data.items()}
    return Measure(**(numbers | {"errors": errors}))


def _as_dict(turn: Round) -> dict[str, dict[str, Any]]:
    return {who: {name: _plain(value) for name, value in asdict(measure).items()} for who, measure in turn.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    return value
