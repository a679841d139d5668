"""The simulator's tables, in Markdown and in JSON."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.common.report import table


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    numbers: Mapping[str, float]
    """NaN where a number does not apply."""


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    note: str
    """The load and the machine, and whether its costs are measured or assumed."""
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        rows = [{"name": row.name} | {k: _rounded(v) for k, v in row.numbers.items()} for row in self.rows]
        return asdict(self) | {"rows": rows}


def markdown(tables: Sequence[Table]) -> str:
    parts = ["# The scheduler, simulated\n", "Made by `python -m benchmarks.simulation`.\n"]
    for each in tables:
        names = list(each.rows[0].numbers)
        rows = [[row.name, *(_formatted(row.numbers[name]) for name in names)] for row in each.rows]
        parts += [f"## {each.title}\n", f"{each.note}\n", table(["", *names], rows) + "\n"]
    return "\n".join(parts)


def _formatted(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
