"""What `doctor` finds."""

from dataclasses import asdict, dataclass
from typing import Literal

Level = Literal["ok", "warning", "failure"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `cure` says what to do, where something is to be done."""

    check: str
    level: Level
    message: str
    cure: str | None = None

    def to_dict(self) -> dict[str, str | None]:
        return asdict(self)


def ok(check: str, message: str) -> Finding:
    return Finding(check, "ok", message)


def warning(check: str, message: str, cure: str) -> Finding:
    return Finding(check, "warning", message, cure)


def failure(check: str, message: str, cure: str) -> Finding:
    return Finding(check, "failure", message, cure)


def gigabytes(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB"
