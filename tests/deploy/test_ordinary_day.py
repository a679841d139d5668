"""No alert fires for what happens on any day."""

import pytest

from deploy.test_alerts import DAY_S, Series, attempts, made, nginx_answers, promtool_test

pytestmark = pytest.mark.needs_program("promtool")

SLOTS = ("0", "1")
CALM_MIN, BUSY_MIN = 119, 61
"""Minutes with little load, and with much. Then there is none."""


def counter(calm: float, busy: float, at_the_end: float = 0) -> str:
    """Return a counter that grows so much in each minute, and once more when the load is over."""
    noon = calm * CALM_MIN
    evening = noon + busy * (BUSY_MIN - 1)
    return f"0+{calm}x{CALM_MIN} {noon}+{busy}x{BUSY_MIN - 1} {evening} {evening + at_the_end}x200"


def slots() -> Series:
    """Return two slots: at minute 30 a worker is killed, at 60 a reload begins, at 88 the machine is updated."""
    ready = {"0": "1x29 0 1x29 0 0 1x27 stale 0 1x300", "1": "1x61 0 0 1x25 stale 0 1x300"}
    restarts = {"0": "0x30 1x29 2x28 0x300", "1": "0x61 1x27 0x300"}
    return {
        'up{job="asr-service"}': "1x87 0 1x300",
        'build_info{version="1"}': "1x87 stale",
        'build_info{version="2"}': "_x88 1x300",
        **{f'slot_ready{{slot="{slot}"}}': ready[slot] for slot in SLOTS},
        **{f'worker_restarts_total{{slot="{slot}"}}': restarts[slot] for slot in SLOTS},
        **{f'worker_rss_bytes{{slot="{slot}"}}': "8e8+1e5x119 9e8 12e8 9e8 12e8x300" for slot in SLOTS},
    }


def requests() -> Series:
    """Return requests, of which a few are refused at much load, and one fails when no other comes."""

    def answered(code: str, values: str, endpoint: str = "/transcribe") -> Series:
        return {f'requests_total{{endpoint="{endpoint}",code="{code}"}}': values}

    return {
        **answered("200", counter(4, 60)),
        **answered("415", counter(1, 6)),
        **answered("503", counter(0.01, 0.1)),
        **answered("500", counter(0, 0, at_the_end=1)),
        **answered("202", counter(2, 6), "/jobs"),
        **answered("429", counter(2, 6), "/jobs"),
        **answered("501", counter(0, 6), "/jobs"),
        **nginx_answers(4, 0.01),
        'request_failures_total{reason="overloaded"}': counter(0.01, 0.1),
        'request_failures_total{reason="undecodable_audio"}': counter(1, 6),
        'request_failures_total{reason="inference_failed"}': counter(0, 0, at_the_end=1),
        'queue_age_seconds{slot="0"}': f"0x{CALM_MIN} {'5 40 0 12 ' * 15} 0x200",
        **times("request_duration_seconds", 20, ',endpoint="/transcribe"'),
        **times("realtime_factor", 1, ',length="long"'),
        **times("live_final_delay_seconds", 2, ""),
    }


def times(histogram: str, bound: float, labels: str) -> Series:
    """Return a histogram of which 97 % are up to `bound`."""
    shares = {str(bound / 2): 0.9, str(bound): 0.97, str(2 * bound): 1, "+Inf": 1}
    buckets = {le: counter(4 * share, 60 * share) for le, share in shares.items()}
    series = {f'{histogram}_bucket{{le="{le}"{labels}}}': values for le, values in buckets.items()}
    return series | {f"{histogram}_count{{{labels.removeprefix(',')}}}": counter(4, 60)}


def jobs() -> Series:
    """Return jobs that wait for half an hour at most; two have a bad recording, one loses its worker."""
    return {
        **attempts("job", succeeded=counter(2, 6), failed=counter(0, 0, at_the_end=2), lost="0x30 1x57 0x300"),
        **attempts("webhook", delivered=counter(2, 6), retry=counter(1, 3), rejected=counter(0, 0.1)),
        'jobs_oldest_waiting_seconds{store="local"}': f"0x{CALM_MIN} 0+30x{BUSY_MIN - 1} 0x200",
    }


def monitors() -> Series:
    """Return the other targets: one probe fails during the update."""
    return {
        'up{job="asr-nginx"}': "1x87 0 1x300",
        'up{job="asr-tls"}': "1x400",
        'probe_success{job="asr-tls"}': "1x87 0 1x300",
        'probe_ssl_earliest_cert_expiry{job="asr-tls"}': f"{30 * DAY_S}x400",
    }


def test_no_alert_fires_on_an_ordinary_day(tmp_path):
    """Two slots for six hours: a killed worker, a reload, an update, a busy hour and hours without a request."""
    day = slots() | requests() | jobs() | monitors()
    test = made(day, [{"expr": 'count_over_time(ALERTS{alertstate="firing"}[6h])', "eval_time": "360m"}])
    promtool_test([test], tmp_path)


def test_no_alert_fires_for_a_handful_of_bad_events_in_quiet_hours(tmp_path):
    """Four events are bad, four minutes apart, and few are good. A machine with two live places is full."""
    bad, good = "0x59 1x3 2x3 3x3 4x300", "0+0.8x400"

    def late(histogram: str, labels: str) -> Series:
        counts = {"1": "0x400", "40": bad, "+Inf": bad}
        series = {f'{histogram}_bucket{{le="{le}"{labels}}}': values for le, values in counts.items()}
        return series | {f"{histogram}_count{{{labels.removeprefix(',')}}}": bad}

    quiet = {
        'up{job="asr-service"}': "1x400",
        **{f'requests_total{{endpoint="{path}",code="200"}}': good for path in ("/transcribe", "/jobs")},
        **{f'requests_total{{endpoint="{path}",code="503"}}': bad for path in ("/transcribe", "/jobs")},
        'nginx_asr_requests_total{source="service",status="200"}': good,
        'nginx_asr_requests_total{source="nginx",status="502"}': bad,
        'request_failures_total{reason="overloaded"}': bad,
        **late("request_duration_seconds", ',endpoint="/transcribe"'),
        **late("realtime_factor", ',length="long"'),
        **late("live_final_delay_seconds", ""),
        'fallbacks_total{reason="compression_ratio"}': "0x59 3x3 6x3 9x3 12x300",
        'batch_size_sum{stage="generate"}': "0x59 4x3 8x3 12x3 16x300",
        **attempts("webhook", delivered=good, rejected=bad),
        "live_sessions": "2x400",
        "live_places": "2x400",
        "live_refused_total": bad,
    }
    test = made(quiet, [{"expr": 'count_over_time(ALERTS{alertstate="firing"}[6h])', "eval_time": "360m"}])
    promtool_test([test], tmp_path)
