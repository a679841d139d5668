"""The alert rules on synthetic series: each fires in time, not earlier, and not for values just within its limits."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.monitoring import ALERTS, GROUPS, PROMETHEUS, ROOT, RULE_FILES

PAGES = dict(
    re.findall(r"^## (Asr\w+)\n(.*?)(?=^## |\Z)", (ROOT / "docs/runbook.md").read_text(), re.DOTALL | re.MULTILINE)
)
"""The section of the runbook for each alert."""

pytestmark = pytest.mark.needs_program("promtool")

DAY_S = 86_400

Series = dict[str, str]
"""Series and their values, one per minute, in promtool's notation. Metric names have no `asr_` prefix."""


@dataclass(frozen=True, slots=True)
class Case:
    """An alert that fires for `over` at minute `at`, not a minute earlier, and never for any of `within`."""

    alert: str
    at: int
    over: Series
    within: tuple[Series, ...]


def answers(good: float, bad: float, endpoint: str = "/transcribe") -> Series:
    """Return the series of `good` answers per minute with a transcript and `bad` ones without."""
    return {
        f'requests_total{{endpoint="{endpoint}",code="200"}}': f"0+{good}x500",
        f'requests_total{{endpoint="{endpoint}",code="503"}}': f"0+{bad}x500",
    }


def nginx_answers(good: float, bad: float, source: str = "nginx", status: str = "503", instance: str = "") -> Series:
    """Return so many responses per minute of slots, and of `source` with `status`, as Nginx's log has them."""
    name = f'nginx_asr_requests_total{{job="asr-nginx",instance="{instance}",'
    return {
        f'{name}source="service",status="200"}}': f"0+{good}x500",
        f'{name}source="{source}",status="{status}"}}': f"0+{bad}x500",
    }


def below(histogram: str, bound: float, percent: int, n: float = 100, **labels: str) -> Series:
    """Return a histogram of `n` observations per minute: `percent` of them up to `bound`, the rest to `2 * bound`.

    The durations of requests also have their counter.
    """
    names = "".join(f',{name}="{value}"' for name, value in labels.items())
    counts = {bound / 2: 0, bound: n * percent / 100, 2 * bound: n, "+Inf": n}
    series = {f'{histogram}_bucket{{le="{le}"{names}}}': f"0+{count}x500" for le, count in counts.items()}
    series[f"{histogram}_count{{{names.removeprefix(',')}}}"] = f"0+{n}x500"
    return series | (answers(n, 0, **labels) if histogram == "request_duration_seconds" else {})


def again(n_tries: float, windows: float, reason: str) -> Series:
    """Return the series of windows that are decoded once and `n_tries` more times."""
    return {
        f'fallbacks_total{{reason="{reason}"}}': f"0+{n_tries}x500",
        'batch_size_sum{stage="generate"}': f"0+{windows + n_tries}x500",
    }


def refused(n: float, of: float, n_live: int = 0) -> Series:
    """Return the series of `n` refused requests of so many per minute, and of `n_live` refused live sessions."""
    return {
        'request_failures_total{reason="overloaded"}': f"0+{n + n_live}x500",
        "live_refused_total": f"0+{n_live}x500",
        **answers(of - n, n),
    }


def attempts(what: str, **values: str) -> Series:
    """Return the attempts at jobs or at webhooks by outcome."""
    return {f'{what}_attempts_total{{outcome="{outcome}"}}': counts for outcome, counts in values.items()}


def resident(a_minute: float) -> Series:
    return {"worker_rss_bytes": f"1000000000+{round(a_minute * 2**20)}x500"}


CASES = [
    Case("AsrAbsent", 5, {'up{job="other"}': "1x500"}, ({'up{job="asr-service"}': "0x500"},)),
    Case("AsrDown", 2, {'up{job="asr-service"}': "0x500"}, ({'up{job="asr-service"}': "0 0 1 0 0 1 0 0 1x400"},)),
    Case(
        "AsrNoSlotReady",
        2,
        {'slot_ready{slot="0"}': "0x500", 'slot_ready{slot="1"}': "0x500"},
        ({'slot_ready{slot="0"}': "0x500", 'slot_ready{slot="1"}': "1x500"},),
    ),
    Case(
        "AsrSlotNotReady",
        5,
        {"slot_ready": "0x500", "up": "1x500"},
        (
            {"slot_ready": "0x4 1 0x4 1 0x4 1x400", "up": "1x500"},
            {"slot_ready": "0x4 stale", "up": "1x4 stale"},  # a pod that drained and ended
        ),
    ),
    Case(
        "AsrWorkerRestarts",
        24,
        {"worker_restarts_total": "0x20 1 2 3 4x400"},
        ({"worker_restarts_total": "0x20 1 2 3x15 4 5 6x400"},),
    ),
    Case(
        "AsrTargetDown",
        5,
        {'up{job="asr-nginx"}': "0x500"},
        ({'up{job="asr-service-worker"}': "0 0 0 0 1 0 0 0 0 1x400", 'up{job="other"}': "0x500"},),
    ),
    Case(
        "AsrErrorRatioHigh",
        6,
        answers(94, 6),
        (answers(95.1, 4.9), answers(0, 0.85), answers(0, 100, "other"), answers(0, 100, "/health")),
    ),
    Case(
        "AsrNginxErrorRatioHigh",
        6,
        nginx_answers(94, 6),
        (
            nginx_answers(95.1, 4.9),
            nginx_answers(0, 0.85),
            nginx_answers(0, 100, "service"),
            nginx_answers(0, 100, status="429"),
            nginx_answers(0, 100, status="501"),
        ),
    ),
    Case(
        "AsrNginxLogNotRead",
        16,
        {'up{job="asr-nginx"}': "1x500", **answers(11, 0)},
        (
            {'up{job="asr-nginx"}': "1x500", **answers(0.15, 0)},
            {'up{job="asr-nginx"}': "0x500", **answers(11, 0)},
            {'up{job="asr-nginx",instance="a"}': "1x500", **answers(11, 0), **nginx_answers(1, 0, instance="a")},
        ),
    ),
    Case(
        "AsrTlsUnreachable",
        5,
        {'probe_success{job="asr-tls"}': "0x2 stale", 'up{job="asr-tls"}': "1x2 0x500"},
        (
            {'probe_success{job="asr-tls"}': "0 0 0 0 1 0 0 0 0 1x400", 'up{job="asr-tls"}': "1x500"},
            {'probe_success{job="other"}': "0x500", 'up{job="other"}': "0x500"},
        ),
    ),
    Case(
        "AsrCertificateExpires",
        60,
        {'probe_ssl_earliest_cert_expiry{job="asr-tls"}': f"{14 * DAY_S - 1}x500"},
        (
            {'probe_ssl_earliest_cert_expiry{job="asr-tls"}': f"{15 * DAY_S}x500"},
            {'probe_ssl_earliest_cert_expiry{job="other"}': "0x500"},
        ),
    ),
    Case(
        "AsrCertificateExpired",
        5,
        {'probe_ssl_earliest_cert_expiry{job="asr-tls"}': f"{DAY_S - 1}x500"},
        ({'probe_ssl_earliest_cert_expiry{job="asr-tls"}': f"{2 * DAY_S}x500"},),
    ),
    Case("AsrErrorBudgetBurnsFast", 3, answers(92.7, 7.3), (answers(92.9, 7.1), answers(0, 0.07))),
    Case("AsrErrorBudgetBurns", 17, answers(96.9, 3.1), (answers(97.1, 2.9), answers(0, 0.012))),
    Case(
        "AsrInternalErrors",
        43,
        {'request_failures_total{reason="inference_failed"}': "0x39 1 2 3 4x400"},
        (
            {'request_failures_total{reason="inference_failed"}': "0x39 1 2 3x400"},
            {'request_failures_total{reason="undecodable_audio"}': "0+100x500"},
        ),
    ),
    Case(
        "AsrFallbacksHigh",
        31,
        again(102, 100, "compression_ratio"),
        (again(98, 100, "compression_ratio"), again(300, 100, "full_context"), again(1.2, 0.6, "compression_ratio")),
    ),
    Case(
        "AsrLatencyHigh",
        11,
        below("request_duration_seconds", 20, 94, endpoint="/transcribe"),
        (
            below("request_duration_seconds", 20, 96, endpoint="/transcribe"),
            below("request_duration_seconds", 20, 0, endpoint="/metrics"),
            below("request_duration_seconds", 20, 0, n=1.3, endpoint="/transcribe"),
        ),
    ),
    Case(
        "AsrSlowerThanSpeech",
        16,
        below("realtime_factor", 1, 49, length="long"),
        (
            below("realtime_factor", 1, 51, length="long"),
            below("realtime_factor", 1, 0, length="short"),
            below("realtime_factor", 1, 0, n=0.6, length="long"),
        ),
    ),
    Case("AsrQueueOld", 2, {"queue_age_seconds": "31x500"}, ({"queue_age_seconds": "30x500"},)),
    Case(
        "AsrSaturated",
        11,
        refused(11, 1000, n_live=100),
        (refused(9, 1000), refused(9, 1000, n_live=100), refused(0.85, 1, n_live=100)),
    ),
    Case(
        "AsrJobsRefused",
        6,
        answers(94, 6, "/jobs"),
        (answers(95.1, 4.9, "/jobs"), answers(0, 0.85, "/jobs"), answers(0, 100, "/jobs/{job_id}")),
    ),
    Case(
        "AsrJobsOld",
        15,
        {'jobs_oldest_waiting_seconds{store="local"}': "3601x500"},
        ({'jobs_oldest_waiting_seconds{store="local"}': "3600x500"},),
    ),
    Case(
        "AsrJobsFail",
        43,
        attempts("job", retried="0x39 1 2 3 4x400"),
        (attempts("job", retried="0x39 1 2 3x400"), attempts("job", failed="0+100x500", stopped="0+100x500")),
    ),
    Case(
        "AsrJobsLost",
        62,
        {f'job_attempts_total{{outcome="lost",instance="{at}"}}': f"0x{at} 1x400" for at in (59, 60, 61)},
        (attempts("job", lost="0x59 1 2x400"), attempts("job", succeeded="0+100x500", retried="0+100x500")),
    ),
    Case(
        "AsrWebhooksFail",
        6,
        attempts("webhook", delivered="0+94x500", given_up="0+3x500", rejected="0+3x500"),
        (
            attempts("webhook", delivered="0+96x500", given_up="0+2x500", rejected="0+2x500"),
            attempts("webhook", delivered="0+1x500", retry="0+100x500"),
        ),
    ),
    Case(
        "AsrLiveTextsLate",
        11,
        below("live_final_delay_seconds", 2, 94),
        (
            below("live_final_delay_seconds", 2, 96),
            below("live_final_delay_seconds", 1, 0),
            below("live_final_delay_seconds", 2, 0, n=1.9),
        ),
    ),
    Case(
        "AsrLiveFull",
        16,
        {"live_sessions": "4x500", "live_places": "4x500", "live_refused_total": "0+9x500"},
        (
            {"live_sessions": "3x500", "live_places": "4x500", "live_refused_total": "0+1x500"},
            {"live_sessions": "4x9 3 4x9 3 4x9 3x400", "live_places": "4x500", "live_refused_total": "0+1x500"},
            {"live_sessions": "4x500", "live_places": "4x500", "live_refused_total": "0+0.28x500"},
            {
                "live_refused_total": "0+1x500",
                'live_sessions{slot="0"}': "4x500",
                'live_places{slot="0"}': "4x500",
                'live_sessions{slot="1"}': "0x500",
                'live_places{slot="1"}': "4x500",
            },
        ),
    ),
    Case(
        "AsrCacheFails",
        16,
        {'cache_errors_total{reason="unavailable"}': "0+1x500"},
        (
            {'cache_errors_total{reason="unavailable"}': "0x9 20x400"},
            {'cache_errors_total{reason="unreadable"}': "0+9x500"},
        ),
    ),
    Case(
        "AsrGpuMemoryHigh",
        5,
        {'gpu_memory_used_bytes{gpu="a"}': "91x500", 'gpu_memory_total_bytes{gpu="a"}': "100x500"},
        ({'gpu_memory_used_bytes{gpu="a"}': "90x500", 'gpu_memory_total_bytes{gpu="a"}': "100x500"},),
    ),
    Case("AsrGpuHot", 5, {"gpu_temperature_celsius": "86x500"}, ({"gpu_temperature_celsius": "85x500"},)),
    Case("AsrMemoryGrows", 181, resident(65 / 60), (resident(63 / 60), {"worker_rss_bytes": "1e8x9 4e9x500"})),
    Case(
        "AsrDecoderRestrictionMissing",
        5,
        {'decoder_restriction{restriction="files"}': "0x500", 'decoder_restriction{restriction="memory"}': "1x500"},
        ({'decoder_restriction{restriction="files"}': "0x4 1x400"},),
    ),
    Case(
        "AsrMixedVersions",
        60,
        {'build_info{version="1"}': "1x500", 'build_info{version="2"}': "1x500"},
        ({'build_info{version="1",device="cuda:0"}': "1x500", 'build_info{version="1",device="cuda:1"}': "1x500"},),
    ),
]


def test_every_alert_has_a_case():
    """A new alert needs a case."""
    assert [case.alert for case in CASES] == list(ALERTS)


@pytest.mark.parametrize("case", CASES, ids=[case.alert for case in CASES])
def test_an_alert_fires_beyond_its_limit_and_in_time(case, tmp_path):
    """It does not fire a minute earlier, and never for values just within its limits."""
    tests = [made(case.over, [fires(case.alert, case.at - 1, False), fires(case.alert, case.at, True)])]
    times = (case.at, case.at + 1, 2 * case.at)
    tests += [made(series, [fires(case.alert, at, False) for at in times]) for series in case.within]
    promtool_test(tests, tmp_path)


@pytest.mark.parametrize(
    ("alert", "good", "bad"),
    [
        ("AsrErrorBudgetBurnsFast", "0+80x60 4800+100x100", "0+20x60 1200+0x100"),
        ("AsrErrorBudgetBurns", "0+80x360 28800+100x200", "0+20x360 7200+0x200"),
    ],
)
def test_a_budget_alert_ends_with_the_failures(alert, good, bad, tmp_path):
    """The long window still has the failures; the short one shows that they have ended."""
    series = {'requests_total{endpoint="/translate",code="200"}': good}
    series['requests_total{endpoint="/translate",code="500"}'] = bad
    over = 60 if alert.endswith("Fast") else 360
    promtool_test([made(series, [fires(alert, over, True), fires(alert, over + 35, False)])], tmp_path)


def test_jobs_that_machines_share_are_one_alert(tmp_path):
    """Jobs of several machines without a shared store are one for each machine that is late."""
    name = 'jobs_oldest_waiting_seconds{{store="{}",instance="{}",job="asr"}}'
    firing = 'count by (instance, job) (ALERTS{alertname="AsrJobsOld",alertstate="firing"})'

    def fire(store: str, *labels: str) -> dict[str, Any]:
        test = made({name.format(store, each): "3601x50" for each in ("asr-1", "asr-2")}, [])
        samples = [{"labels": each, "value": 1} for each in labels]
        test["promql_expr_test"] = [{"expr": firing, "eval_time": "15m", "exp_samples": samples}]
        return test

    each = ['{instance="asr-1",job="asr"}', '{instance="asr-2",job="asr"}']
    promtool_test([fire("shared", '{job="asr"}'), fire("local", *each)], tmp_path)


def test_a_single_slot_that_fails_to_load_again_and_again_is_an_outage(tmp_path):
    """While it waits for its next worker, Prometheus gets a 503 and no metrics: the waits do not delay the alert."""
    series = {
        'up{job="asr-service"}': "0 1 " * 40,
        'slot_ready{job="asr-service",slot="0"}': "stale 0 " * 40,
    }
    alerts = [fires("AsrNoSlotReady", 3, True), fires("AsrNoSlotReady", 30, True), fires("AsrSlotNotReady", 30, True)]
    promtool_test([made(series, alerts)], tmp_path)


def test_a_receiver_that_stops_raises_an_alert_when_its_events_are_given_up(tmp_path):
    """An event a minute, from minute 60 on in vain: the first is given up after 76 minutes, the fifth soon after."""
    series = attempts("webhook", delivered="0+1x60 60x400", retry="0x60 4+4x400", given_up="0x135 1+1x400")
    alerts = [fires("AsrWebhooksFail", 138, False), fires("AsrWebhooksFail", 147, True)]
    promtool_test([made(series, alerts)], tmp_path)


def test_a_receiver_with_few_events_raises_an_alert_too(tmp_path):
    """An event an hour, all rejected: the fifth one is within six hours. The alert ends six hours after the last."""
    hourly = " ".join(f"{count}x59" for count in range(6))
    alerts = [fires("AsrWebhooksFail", 295, False), fires("AsrWebhooksFail", 310, True)]
    alerts += [fires("AsrWebhooksFail", 720, False)]
    promtool_test([made(attempts("webhook", rejected=f"{hourly} 5x600"), alerts)], tmp_path)


def test_an_alert_names_the_place_the_problem_and_the_value(tmp_path):
    """Its annotations have the labels, the value and the URL of the runbook."""
    labels = {"instance": "asr-3:8000", "gpu": "GPU-7"}
    text = {
        "summary": "GPU GPU-7 on asr-3:8000 is 86 C",
        "description": ALERTS["AsrGpuHot"]["annotations"]["description"],
        "runbook_url": "https://runbooks/asr#asrgpuhot",
    }
    test = made({'gpu_temperature_celsius{instance="asr-3:8000",gpu="GPU-7"}': "86x10"}, [])
    test["external_labels"] = {"runbook": "https://runbooks/asr"}
    expected = {"exp_labels": {"severity": "warning", **labels}, "exp_annotations": text}
    test["alert_rule_test"] = [{"eval_time": "6m", "alertname": "AsrGpuHot", "exp_alerts": [expected]}]
    promtool_test([test], tmp_path)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_a_severity_and_a_section_in_the_runbook(alert):
    """It has a severity, a summary, a description and a section in the runbook with three parts."""
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"{{{{ $externalLabels.runbook }}}}#{alert.lower()}"
    page = PAGES[alert]
    assert f"`{rule['labels']['severity']}`" in page
    for part in ("**Means.**", "**Check.**", "**Do.**"):
        assert part in page


def test_the_runbook_has_no_section_for_a_missing_alert():
    """The runbook has a section for each alert and no other."""
    assert list(PAGES) == list(ALERTS)


def test_prometheus_accepts_the_configuration():
    """promtool checks the files as they are deployed."""
    checked = subprocess.run(
        ["promtool", "check", "config", PROMETHEUS / "prometheus.yml"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def made(series: Series, expressions: list[dict[str, Any]]) -> dict[str, Any]:
    rows = [
        {"series": name if name.startswith(("up", "nginx_", "probe_")) else f"asr_{name}", "values": v}
        for name, v in series.items()
    ]
    return {"interval": "1m", "input_series": rows, "promql_expr_test": expressions}


def fires(alert: str, minute: int, expected: bool) -> dict[str, Any]:
    """Return the expectation that the alert fires, or does not."""
    expr = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
    return {"expr": expr, "eval_time": f"{minute}m", "exp_samples": [{"labels": "{}", "value": 1}] if expected else []}


def promtool_test(tests: list[dict[str, Any]], folder: Path) -> None:
    file = folder / "test.yml"
    file.write_text(
        yaml.safe_dump(
            {
                "rule_files": [str(path) for path in RULE_FILES],
                "evaluation_interval": "1m",
                "group_eval_order": [group["name"] for group in GROUPS],
                "tests": tests,
            }
        )
    )
    tried = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert tried.returncode == 0, f"{tried.stdout}{tried.stderr}"
