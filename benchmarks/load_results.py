"""What a benchmark measured, as it is kept in JSON: plain numbers by scenario, round and contestant."""

import math
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from load_client import Answer, Run, score
from scoring import Errors

Round = dict[str, "Measure"]
"""By contestant: what each did in one turn of the rounds."""

_TELLING_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")


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
    load_average: float
    """Of the machine's last minute, so that a disturbed round shows."""

    @classmethod
    def of(cls, run: Run) -> "Measure":
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
            load_average=os.getloadavg()[0],
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


def machine() -> dict[str, str]:
    """The machine and the versions, for the head of a report."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": f"{os.cpu_count()} cores, {_cpu_name()}, {_memory_gib():.0f} GiB",
        "CPU flags": " ".join(flag for flag in _TELLING_FLAGS if flag in _cpu_flags()) or "none of note",
        "load average before": f"{os.getloadavg()[0]:.2f}",
        "versions": ", ".join(f"{name} {version(name)}" for name in ("faster-whisper", "ctranslate2", "asr-service")),
    }


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


def _cpu_flags() -> set[str]:
    return set(_cpuinfo("flags").split())


def _cpu_name() -> str:
    return f"{_cpuinfo('model name') or platform.machine()}, family {_cpuinfo('cpu family')} model {_cpuinfo('model')}"


def _cpuinfo(name: str) -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    pairs = (line.split(":", maxsplit=1) for line in lines if ":" in line)
    return next((value.strip() for key, value in pairs if key.strip() == name), "")


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
