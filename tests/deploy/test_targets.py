"""The other targets of Prometheus: an alert fires if a job worker stops, and if mtail cannot read Nginx's log."""

from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from api.live import ALL, serving, tone
from deploy.monitoring import ROOT
from deploy.prometheus import Prometheus, free_port, scraping
from jobs.job_worker import working
from nginx.mtail import counting
from redis_server import RedisServer
from waiting import until

pytestmark = pytest.mark.needs_program("prometheus")

POD_MONITOR = ROOT / "deploy/kubernetes/components/monitoring/pod-monitor.yaml"


def up(prometheus: Prometheus, job: str) -> list[str]:
    return [sample["value"][1] for sample in prometheus.query(f'up{{job="{job}"}}')]


@pytest.mark.needs_program("redis-server")
def test_a_job_worker_that_stops_raises_an_alert(redis_server: RedisServer, tmp_path: Path) -> None:
    """Prometheus scrapes it at ASR_HOST:ASR_WORKER_PORT, the address in the file of targets."""
    port = free_port()
    (tmp_path / "files").mkdir(mode=0o700)
    environ = {
        "ASR_JOBS_URL": redis_server.url,
        "ASR_JOBS_FILES": str(tmp_path / "files"),
        "ASR_SERVICE_URL": "http://127.0.0.1:9",
        "ASR_HOST": "127.0.0.1",
        "ASR_WORKER_PORT": str(port),
    }
    address = f"127.0.0.1:{port}"
    with (
        working(tmp_path / "worker", **environ) as worker,
        scraping("127.0.0.1:9", tmp_path / "prometheus", worker=[address]) as prometheus,
    ):
        until(lambda: up(prometheus, "asr-service-worker") == ["1"], within_s=60, what="a scrape")
        assert prometheus.query('asr_webhook_attempts_total{job="asr-service-worker",outcome="given_up"}')
        until(lambda: ("AsrTargetDown", address) not in prometheus.firing(), what="the end of the alert")
        worker.stop()
        until(lambda: ("AsrTargetDown", address) in prometheus.firing(), what="the alert")


def test_the_alert_about_job_workers_matches_their_pods(tmp_path: Path) -> None:
    """By default the Prometheus operator names a job NAMESPACE/NAME, after its PodMonitor."""
    monitor = yaml.safe_load(POD_MONITOR.read_text())
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    by_operator = {"target_label": "job", "replacement": f"asr/{monitor['metadata']['name']}"}
    pod = {
        "job_name": "podMonitor/asr/asr-service-worker/0",
        "static_configs": [{"targets": ["127.0.0.1:9"]}],
        "relabel_configs": [by_operator, *map(as_prometheus, endpoint.get("relabelings", []))],
    }
    with scraping("127.0.0.1:9", tmp_path / "prometheus", more_jobs=[pod]) as prometheus:
        until(lambda: ("AsrTargetDown", "127.0.0.1:9") in prometheus.firing(), what="the alert")


@pytest.mark.needs_program("mtail")
def test_a_log_that_mtail_does_not_find_raises_an_alert(tmp_path: Path) -> None:
    """The service answers requests, and mtail counts none. The alert ends when the log is there."""
    log = tmp_path / "access.log"
    line = '{"time":"now","path":"/transcribe","status":200,"received_bytes":9,"upstream_header_s":"0.1"}\n'
    with (
        serving() as live,
        counting(log, tmp_path / "mtail") as target,
        scraping(live.url.removeprefix("http://"), tmp_path / "prometheus", nginx=[target]) as prometheus,
    ):

        def fires() -> bool:
            return ("AsrNginxLogNotRead", target) in prometheus.firing()

        def fires_after_a_request() -> bool:
            assert httpx.post(f"{live.url}/transcribe", files={"file": tone()}, data=ALL).status_code == 200
            return fires()

        def ends_after_a_line() -> bool:
            with log.open("a") as file:
                file.write(line)
            return not fires()

        until(fires_after_a_request, within_s=60, every_s=0.2, what="the alert")
        until(ends_after_a_line, within_s=60, every_s=0.2, what="its end")


def as_prometheus(relabeling: dict[str, Any]) -> dict[str, Any]:
    """Return a relabeling of a monitor in the form that the operator writes for Prometheus."""
    names = {"targetLabel": "target_label", "sourceLabels": "source_labels"}
    return {names.get(name, name): value for name, value in relabeling.items()}
