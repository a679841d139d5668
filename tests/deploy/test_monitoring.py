"""A service under load, scraped by a real Prometheus: every panel and every rule has data."""

import base64
import json
import math
import re
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import numpy as np
import pytest
from faster_whisper.audio import decode_audio
from websockets.exceptions import WebSocketException
from websockets.sync.client import unix_connect

from api.live import ALL, tone
from deploy.asked_model import DOUBTFUL_BEAM, POISONOUS_BEAM
from deploy.monitoring import ALERTS, QUERIES, RECORDED, Query
from deploy.prometheus import Prometheus, Sample, scraping
from http_servers import Handler, serving_http
from serving.client import CannotConnect, Lost
from serving.harness import Service, running
from speech import SPEECH
from waiting import until

pytestmark = [
    pytest.mark.needs_program("prometheus"),
    # httpx drops the socket with which it was refused, as it is where a slot's socket is gone.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

BOUND = re.compile(r"(?:==|>) *[\d.]*(?:[ */]*(?:scalar\([^)]*\)|[\d.]+))*")
"""The right-hand side of an alert's comparison."""
WITHOUT_DATA = {
    "AsrAbsent",
    "AsrTargetDown",
    "AsrNginxErrorRatioHigh",
    "AsrNginxLogNotRead",
    "AsrTlsUnreachable",
    "AsrCertificateExpires",
    "AsrCertificateExpired",
}
WINDOW = "20s"
PANELS = {"$instance": ".*", "$slot": ".*", "$__rate_interval": WINDOW}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Scrape two slots under load, with successful, failing and refused requests and one killed worker."""
    folder = tmp_path_factory.mktemp("watched")
    environ = {
        "ASR_DEVICES": "cuda:0,cuda:1",
        "ASR_MAX_OPEN_REQUESTS": "3",
        "ASR_STATE_DIR": str(folder / "state"),
        "ASR_CACHE_URL": "memory",
    }
    with (
        running(folder / "service", None, launcher="deploy.launcher", **environ) as service,
        metrics_proxy(service) as target,
        scraping(target, folder / "prometheus") as prometheus,
        under_load(service),
    ):
        until(lambda: service.alive() and len(service.lines("ready")) == 2, what="two slots")
        (folder / "state/jobs/files").rename(folder / "files")  # so that no job can be stored
        until(lambda: prometheus.query("sum(asr_request_duration_seconds_count) > 20"), what="requests seen")
        service.signal(signal.SIGKILL, service.lines("loading")[1]["pid"])
        until(lambda: prometheus.query("sum(increase(asr_worker_restarts_total[20s])) > 0"), what="a restart seen")
        until(lambda: prometheus.query("count(asr_slot_ready == 1) == 2"), what="the slot again")
        yield prometheus


@contextmanager
def under_load(service: Service) -> Iterator[None]:
    """Send requests of each kind, and jobs, to each slot continuously, more than one slot accepts."""
    over = threading.Event()
    timed: dict[str, object] = {"word_timestamps": "true"}
    kinds: list[dict[str, object]] = [{}, {}, {}, timed, {"beam_size": DOUBTFUL_BEAM}, {"beam_size": POISONOUS_BEAM}]

    def send(slot: int, fields: dict[str, object], recording: bytes, path: str = "/transcribe") -> None:
        headers = {"cache-control": "no-cache"}  # each request is work
        with httpx.Client(headers=headers, transport=httpx.HTTPTransport(uds=str(service.socket(slot)))) as client:
            while not over.wait(0.3):
                with suppress(httpx.TransportError):
                    client.post(f"http://slot{path}", files={"file": recording}, data=ALL | fields, timeout=60)

    with ThreadPoolExecutor(2 * len(kinds) + 4) as pool:
        for slot in (0, 1):
            pool.submit(speak, service, slot, over)
            pool.submit(send, slot, {}, tone(1), "/jobs")
            for number, fields in enumerate(kinds):
                pool.submit(send, slot, fields, tone(10 if number == 0 else 1))
        try:
            yield
        finally:
            over.set()


def speak(service: Service, slot: int, over: threading.Event) -> None:
    """Speak a sentence every four seconds in live sessions, until it is over. The slot may restart meanwhile."""
    with SPEECH["en-sonnet"].path.open("rb") as file:
        sound = np.append(decode_audio(file, sampling_rate=24_000)[: 3 * 24_000], np.zeros(24_000))
    audio = base64.b64encode((sound * 32_767).astype("<i2").tobytes()).decode()
    while not over.is_set():
        with (
            suppress(OSError, WebSocketException),
            unix_connect(str(service.socket(slot)), "ws://slot/v1/realtime") as session,
        ):
            while not over.is_set():
                session.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
                while not over.wait(0.01) and "completed" not in str(session.recv(timeout=60)):
                    pass
                over.wait(4)
        over.wait(0.2)


@contextmanager
def metrics_proxy(service: Service) -> Iterator[str]:
    """Pass /metrics on to a slot that accepts connections, as Nginx does for Prometheus; yields the address."""

    class Proxy(Handler):
        def do_GET(self) -> None:
            for slot in (0, 1):
                with suppress(CannotConnect, Lost):
                    return self.answer(200, service.get(self.path, slot).text.encode())
            return self.answer(503)

    with serving_http(Proxy) as url:
        yield url.removeprefix("http://")


@pytest.mark.parametrize("title", ["Extra attempts per window", "Decoded again"])
def test_a_service_without_any_fallback_shows_zero_fallbacks(idle, title):
    """A panel without data could also mean that the service is down."""
    (query,) = [query for query in QUERIES if query.where.startswith(f"performance: {title}")]
    shown = until(lambda: numbers(idle.query(as_grafana(query))), what="data")
    assert set(shown) == {0}


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Scrape a service that is ready and has had no request."""
    folder = tmp_path_factory.mktemp("idle")
    with (
        running(folder / "service", None, launcher="deploy.launcher", ASR_DEVICES="cuda:0,cuda:1") as service,
        metrics_proxy(service) as target,
        scraping(target, folder / "prometheus") as prometheus,
    ):
        until(lambda: len(service.lines("ready")) == 2, what="two slots")
        yield prometheus


def expressions() -> dict[str, str]:
    """Return the expression of each panel, and of each rule without its limit."""
    asked = {query.where: as_grafana(query) for query in QUERIES} | RECORDED
    return asked | {name: without_bound(name) for name in ALERTS if name not in WITHOUT_DATA}


def is_known(prometheus: Prometheus, expr: str) -> bool:
    """Tell whether the expression has a number, now or soon: a scrape of a busy machine may fail."""
    with suppress(AssertionError):
        return until(lambda: bool(numbers(prometheus.query(expr))), every_s=0.2)
    return False


def numbers(samples: list[Sample]) -> list[float]:
    values = [float(sample["value"][1]) for sample in samples]
    return [value for value in values if math.isfinite(value)]


def as_grafana(query: Query) -> str:
    expr = query.expr.removesuffix("> 0") if query.where.endswith("Worker restarts") else query.expr
    for variable, value in PANELS.items():
        expr = expr.replace(variable, value)
    return expr


def without_bound(alert: str) -> str:
    """Return the alert's expression with a comparison that is always true."""
    expr, n_bounds = BOUND.subn("> -1e18", ALERTS[alert]["expr"])
    assert n_bounds, expr
    return expr


def test_every_panel_and_rule_has_data(prometheus):
    """Each query of each panel, each recording rule and each alert's expression without its limit has data.

    AsrAbsent has data only where there is no target. tests/nginx/test_metrics.py has data for Nginx's own answers,
    and tests/deploy/test_targets.py for the other targets.
    tests/deploy/test_tls_probes.py has data of the exporter for TLS.
    """
    assert [f"{name}: {expr}" for name, expr in expressions().items() if not is_known(prometheus, expr)] == []
    assert prometheus.query(ALERTS["AsrAbsent"]["expr"]) == []
    assert prometheus.query(ALERTS["AsrAbsent"]["expr"].replace("asr-service", "asr-servant"))


@pytest.mark.parametrize("query", [query for query in QUERIES if query.labels], ids=lambda query: query.where)
def test_a_legend_uses_labels_that_exist(prometheus, query):
    """No line of a panel has an empty name."""
    for sample in prometheus.query(as_grafana(query)):
        assert query.labels <= set(sample["metric"]), sample


def firing_alerts(prometheus: Prometheus) -> list[Any]:
    return [alert for rule in prometheus.rules() for alert in rule.get("alerts", [])]


def test_every_rule_is_healthy(prometheus):
    """No rule fails to evaluate, and no firing alert has an error in its annotations."""
    wanted = {"AsrErrorRatioHigh", "AsrErrorBudgetBurns", "AsrSaturated", "AsrJobsRefused"}
    with suppress(AssertionError):  # each needs five failures
        until(lambda: wanted <= {alert["labels"]["alertname"] for alert in firing_alerts(prometheus)}, every_s=0.2)
    rules, firing = prometheus.rules(), firing_alerts(prometheus)
    assert {rule["name"] for rule in rules} == {*RECORDED, *ALERTS}
    assert {rule["name"]: rule.get("lastError", "") for rule in rules if rule["health"] != "ok"} == {}
    assert wanted <= {alert["labels"]["alertname"] for alert in firing}
    assert not [alert for alert in firing if "<error" in str(alert["annotations"])]


@pytest.mark.parametrize(
    ("expr", "holds"),
    [
        ("asr_worker_restarts_total", lambda counts: counts == [0, 1]),
        ("asr_slot_ready", lambda ready: ready == [1, 1]),
        ("asr_gpu_memory_used_bytes / asr_gpu_memory_total_bytes", lambda used: used == [1 / 24] * 2),
        ("asr_gpu_temperature_celsius", lambda celsius: celsius == [60, 60]),
        ("asr_gpu_utilization_ratio", lambda busy: busy == [0.5, 0.5]),
        ("asr_worker_rss_bytes", lambda sizes: len(sizes) == 2 and min(sizes) > 30e6),
        ("sum(asr_request_failures_total{reason='overloaded'})", lambda counts: min(counts, default=0) > 0),
        ("count by (slot) (asr_queue_age_seconds)", lambda counts: counts == [1, 1]),
    ],
)
def test_metrics_have_the_expected_values(prometheus: Prometheus, expr: str, holds: Callable[[list[float]], bool]):
    """Each slot reports both slots and both GPUs, one restart, and counters that survived the worker."""
    with suppress(AssertionError):  # a scrape of a busy machine may fail
        until(lambda: holds(sorted(numbers(prometheus.query(expr)))), within_s=10, every_s=0.2)
    values = sorted(numbers(prometheus.query(expr)))
    assert holds(values), values
