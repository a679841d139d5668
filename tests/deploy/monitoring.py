"""The rules and panels in deploy/, read from its files."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy/prometheus"
RULE_FILES = sorted((PROMETHEUS / "rules").glob("*.yml"), reverse=True)
"""Recording rules come before the alerts."""
GROUPS: list[dict[str, Any]] = [group for path in RULE_FILES for group in yaml.safe_load(path.read_text())["groups"]]
RECORDED: dict[str, str] = {
    rule["record"]: rule["expr"] for group in GROUPS for rule in group["rules"] if "record" in rule
}
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule
}
DASHBOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))
}


@dataclass(frozen=True, slots=True)
class Query:
    """One expression of one panel, and its legend."""

    where: str
    expr: str
    legend: str

    @property
    def labels(self) -> set[str]:
        return set(re.findall(r"{{(\w+)}}", self.legend))


def panels(dashboard: str) -> list[dict[str, Any]]:
    """Return all panels except rows."""
    return [panel for panel in DASHBOARDS[dashboard]["panels"] if panel["type"] != "row"]


QUERIES = [
    Query(f"{name}: {panel['title']} {target['refId']}", target["expr"], target["legendFormat"])
    for name in DASHBOARDS
    for panel in panels(name)
    for target in panel["targets"]
] + [
    Query(f"{name}: {note['name']}", note["expr"], note["titleFormat"])
    for name, dashboard in DASHBOARDS.items()
    for note in dashboard["annotations"]["list"]
]


def metrics_in(expr: str) -> set[str]:
    """Return the names of the service's metrics, without the suffixes of histograms and counters."""
    return {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in re.findall(r"(?<![\w:])asr_\w+\b(?!:)", expr)}
