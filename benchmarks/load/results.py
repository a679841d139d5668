"""The load benchmark's measurements and their JSON form: numbers by scenario, round and server."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.common.client import Response, Run, score
from benchmarks.common.scoring import Errors

Round = dict[str, "Measure"]
"""The measurements of one round, by server."""


@dataclass(frozen=True, slots=True)
class Measure:
    """The measurements of one server in one round."""

    n: int
    n_unanswered: int
    wall_s: float
    requests_per_s: float
    audio_s_per_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    errors: dict[str, Errors]
    """By language."""
    others_cores: float
    """Cores that other processes used meanwhile. Shows whether the round was disturbed."""

    @classmethod
    def of(cls, run: Run, others_cores: float) -> "Measure":
        return cls(
            n=len(run.responses),
            n_unanswered=run.n_failed,
            wall_s=run.wall_s,
            requests_per_s=run.requests_per_s,
            audio_s_per_s=run.audio_s_per_s,
            p50_s=run.latency_s(50),
            p95_s=run.latency_s(95),
            p99_s=run.latency_s(99),
            errors=by_language(run.responses),
            others_cores=others_cores,
        )


@dataclass(slots=True)
class Results:
    about: dict[str, str]
    rounds: dict[str, list[Round]] = field(default_factory=dict)
    """By scenario."""
    numbers: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    """By scenario, for scenarios whose rounds are a few plain numbers."""
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds per request in each stage of the service, at the highest closed-loop concurrency."""

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
            name: [{server: _measure(measure) for server, measure in each.items()} for each in rounds]
            for name, rounds in data["rounds"].items()
        }
        return cls(data["about"], rounds, data["numbers"], data["stages"])


def by_language(responses: Iterable[Response]) -> dict[str, Errors]:
    """Sum the errors by language, over the first response to each clip that has a reference."""
    first: dict[str, Response] = {}
    for response in responses:
        first.setdefault(response.clip.path.name, response)
    counts: dict[str, Errors] = {}
    for response in first.values():
        if response.clip.reference and response.clip.language:
            language = response.clip.language
            counts[language] = counts.get(language, Errors(0, 0)) + score(response)
    return counts


def total(errors: Mapping[str, Errors]) -> Errors:
    return sum(errors.values(), Errors(0, 0))


def _measure(data: Mapping[str, Any]) -> Measure:
    errors = {language: Errors(**counts) for language, counts in data["errors"].items()}
    numbers = {name: math.nan if value is None else value for name, value in data.items()}
    return Measure(**(numbers | {"errors": errors}))


def _as_dict(turn: Round) -> dict[str, dict[str, Any]]:
    return {
        server: {name: _plain(value) for name, value in asdict(measure).items()} for server, measure in turn.items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    return value
