"""The dashboards as Grafana would load them, checked without Grafana."""

import itertools
import re

import pytest
import yaml

from asr_service import metrics
from asr_service.engine.pipeline.live.sessions import WORD_OUTCOMES
from deploy.monitoring import ALERTS, DASHBOARDS, QUERIES, RECORDED, ROOT, metrics_in, panels

UNITS = {"none", "reqps", "percentunit", "s", "bytes", "celsius", "ops", "suffix:s/s"}
GRAFANA = ROOT / "deploy/grafana"


@pytest.fixture(params=DASHBOARDS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_dashboards_have_different_ids_and_titles():
    """Grafana distinguishes dashboards by uid and title."""
    for key in ("uid", "title"):
        assert len({dashboard[key] for dashboard in DASHBOARDS.values()}) == len(DASHBOARDS) == 2


def test_panels_do_not_overlap(name):
    """Ids are unique, and panels lie within the 24 columns without overlap."""
    everything = DASHBOARDS[name]["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    for panel in everything:
        assert 0 <= panel["gridPos"]["x"] < panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    for one, other in itertools.combinations((panel["gridPos"] for panel in everything), 2):
        apart = [one[at] + one[size] <= other[at] or other[at] + other[size] <= one[at] for at, size in ("xw", "yh")]
        assert any(apart), (one, other)


def test_each_panel_has_a_title_a_description_and_a_unit(name):
    """Each panel has a title, a description and a unit; its queries have refIds and the chosen data source."""
    for panel in panels(name):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        refs = [target["refId"] for target in panel["targets"]]
        assert refs == sorted(set(refs))
        for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            assert source == {"type": "prometheus", "uid": "${datasource}"}
        if panel["type"] in {"timeseries", "stat", "state-timeline", "heatmap"}:
            assert all(target["legendFormat"] for target in panel["targets"])


def test_a_choice_of_machine_and_slot_reaches_every_panel(name):
    """Every used variable exists, and each query is limited to the chosen machines and slots."""
    variables = {variable["name"] for variable in DASHBOARDS[name]["templating"]["list"]}
    assert variables >= {"datasource", "instance", "slot"}
    builtin = {"__all", "__rate_interval", "__url_time_range", "__all_variables"}
    assert set(re.findall(r"\$\{?(\w+)", str(DASHBOARDS[name]))) <= variables | builtin
    for panel in panels(name):
        for expr in (target["expr"] for target in panel["targets"]):
            selectors = re.findall(r"(?<![\w:])asr_\w+({[^}]*})?", expr)
            assert all('instance=~"$instance"' in selector for selector in selectors), expr


def test_links_lead_to_sections_of_the_runbook(name):
    """The links use the anchors of the alerts."""
    links = [link["url"] for panel in panels(name) for link in panel.get("links", []) if "#" in link["url"]]
    assert links
    assert {link.removeprefix("${runbook}#") for link in links} <= {alert.lower() for alert in ALERTS}
    assert any(link["url"] == "${runbook}" for link in DASHBOARDS[name]["links"])


def test_every_used_metric_exists():
    """Panels, rules and alerts use only metrics of metrics.py and recording rules."""
    known = set(re.findall(r"^# TYPE (\w+?)(?:_total)? ", metrics.render().decode(), re.MULTILINE))
    expressions = [query.expr for query in QUERIES] + list(RECORDED.values())
    expressions += [alert["expr"] for alert in ALERTS.values()]
    named = set().union(*map(metrics_in, expressions))
    assert named <= known | set(RECORDED)
    assert len(named) > 20
    recorded = {name for expr in expressions for name in re.findall(r"\w+:[\w:]+", re.sub(r'"[^"]*"', "", expr))}
    assert recorded <= set(RECORDED)


@pytest.mark.parametrize(
    ("name", "outcomes"),
    [
        ("asr_job_attempts_total", metrics.JOB_OUTCOMES),
        ("asr_webhook_attempts_total", metrics.WEBHOOK_OUTCOMES),
        ("asr_live_words_total", WORD_OUTCOMES),
    ],
)
def test_alerts_and_panels_use_outcomes_that_exist(name, outcomes):
    """An outcome with another name would never match."""
    expressions = [query.expr for query in QUERIES] + [alert["expr"] for alert in ALERTS.values()]
    used = re.findall(rf'{name}{{[^}}]*outcome=~?"([^"]+)"', "\n".join(expressions))
    assert used
    assert {outcome for each in used for outcome in each.split("|")} <= set(outcomes)


def test_the_provisioning_finds_the_deployed_files():
    """It has a data source, and the directory of the dashboards that docs/operations.md names."""
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/asr-service.yml").read_text())["providers"]
    assert provider["options"]["path"] in (ROOT / "docs/operations.md").read_text()
