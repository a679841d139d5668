"""The rows of a table of faults, and the table as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.common.report import facts, table


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRow:
    """A fault's row. A subclass adds what was observed."""

    fault: str
    problems: tuple[str, ...] = ()
    """Expectations that were not met."""
    note: str = ""
    skipped: str = ""
    """Why the fault was not tried."""

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"ok": self.ok and not self.skipped}

    def cells(self) -> tuple[str, ...]:
        """Format the row: its names, what was observed, whether all was as expected, and remarks."""
        if self.skipped:
            return (*self.names(), *("-" for _ in self.observed()), "not tried", self.skipped)
        remarks = [self.note, *self.problems] if self.note else self.problems
        return (*self.names(), *self.observed(), "yes" if self.ok else "**no**", "; ".join(remarks))

    def names(self) -> tuple[str, ...]:
        return (self.fault,)

    def observed(self) -> tuple[str, ...]:
        raise NotImplementedError


def counted(counts: Mapping[Any, int] | None) -> str:
    """Format counts as `2 x this, 1 x that`."""
    return ", ".join(f"{count} x {what}" for what, count in (counts or {}).items()) or "-"


def markdown(title: str, about: Mapping[str, str], heads: Sequence[str], rows: Sequence[FaultRow]) -> str:
    tried = [each for each in rows if not each.skipped]
    failed = [each for each in tried if not each.ok]
    conclusion = f"{len(tried)} faults tried; {len(failed)} missed an expectation."
    return "\n\n".join([f"# {title}", facts(about), table(heads, (each.cells() for each in rows)), conclusion]) + "\n"
