"""The simulator's tables, in Markdown and in JSON."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


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
    for table in tables:
        names = list(table.rows[0].numbers)
        lines = [_line(["", *names]), _line(["---"] * (len(names) + 1))]
        lines += [_line([row.name, *(_formatted(row.numbers[name]) for name in names)]) for row in table.rows]
        parts += [f"## {table.title}\n", f"{table.note}\n", "\n".join(lines) + "\n"]
    return "\n".join(parts)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _formatted(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
