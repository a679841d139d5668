"""Arrivals of requests: recorded from the service's own log, or random."""

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from asr_service.access.caller import UNKNOWN_CALLER, Caller
from asr_service.engine.schedule.batch import MAX_FAIRNESS_PENALTY_S
from benchmarks.common.client import arrivals

_BULK_S = 120.0
"""Longer recordings count as bulk in reports, and in rules that know the length beforehand."""


@dataclass(frozen=True, slots=True)
class Arrival:
    at_s: float
    audio_s: float
    """Seconds of speech that voice activity detection leaves."""
    took_s: float | None = None
    """The latency of the real service; None if the arrival is not recorded."""
    caller: Caller = UNKNOWN_CALLER

    @property
    def bulk(self) -> bool:
        return self.audio_s > _BULK_S


def clips_and_files(
    clips_per_s: float, files_per_hour: float, duration_s: float, seed: int, file_s: float = 3600.0
) -> list[Arrival]:
    """Make two Poisson processes: clips of 2 to 29 s, most of them short, and long files."""
    lengths = random.Random(seed)
    clips = [
        Arrival(at_s, min(max(lengths.lognormvariate(2.1, 0.6), 2.0), 29.0))
        for at_s in arrivals(clips_per_s, duration_s, seed)
    ]
    files = [Arrival(at_s, file_s) for at_s in arrivals(files_per_hour / 3600, duration_s, seed + 1)]
    return sorted([*clips, *files], key=lambda arrival: arrival.at_s)


def waves(
    low_per_s: float, high_per_s: float, duration_s: float, seed: int, *, from_s: float, until_s: float
) -> list[Arrival]:
    """Make clips at a low rate, and at a high rate from `from_s` to `until_s`."""
    quiet = [each for each in clips_and_files(low_per_s, 0.001, duration_s, seed) if not from_s <= each.at_s < until_s]
    rush = [
        Arrival(each.at_s + from_s, each.audio_s)
        for each in clips_and_files(high_per_s, 0.001, until_s - from_s, seed + 7)
    ]
    return sorted([each for each in [*quiet, *rush] if not each.bulk], key=lambda arrival: arrival.at_s)


def recorded(lines: Iterable[str]) -> list[Arrival]:
    """Read the arrivals and latencies of all requests with a transcript from a log in JSON.

    The `request` line is written at the end of a request and has its duration. The `transcribed` line of the same
    request has the seconds of speech. Other lines are ignored.
    """
    speech_s: dict[str, float] = {}
    found: list[Arrival] = []
    for event in _events(lines):
        if event.get("event") == "transcribed":
            speech_s[event["request_id"]] = event["speech_s"]
        if event.get("event") == "request" and event.get("request_id") in speech_s:
            ended = datetime.fromisoformat(event["timestamp"]).timestamp()
            took_s = event["seconds"]
            found.append(Arrival(ended - took_s, speech_s.pop(event["request_id"]), took_s))
    found.sort(key=lambda arrival: arrival.at_s)
    first_s = found[0].at_s if found else 0.0
    return [Arrival(round(each.at_s - first_s, 3), each.audio_s, each.took_s) for each in found]


def _events(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.startswith("{"):
            yield json.loads(line)


def write_recording(lines: Iterable[str], source: str, path: Path) -> None:
    rows = [asdict(arrival) for arrival in recorded(lines)]
    kept = {"source": source, "max_penalty_s": MAX_FAIRNESS_PENALTY_S, "arrivals": rows}
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Recording:
    source: str
    max_penalty_s: float
    """The maximum fairness penalty of the service that was recorded."""
    arrivals: tuple[Arrival, ...]


def read_recording(path: Path) -> Recording:
    data = json.loads(path.read_text(encoding="utf-8"))
    return Recording(data["source"], data["max_penalty_s"], tuple(Arrival(**row) for row in data["arrivals"]))
