"""Nginx's own answers as metrics: a real Nginx writes its log, a real mtail counts, a real Prometheus scrapes."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.prometheus import Prometheus, scraping
from nginx.conftest import Stack
from nginx.mtail import counting
from nginx.proxy import needs_nginx
from nginx.test_faults import loading_for_ever
from waiting import until

pytestmark = [needs_nginx, pytest.mark.needs_program("mtail"), pytest.mark.needs_program("prometheus")]


def counts(prometheus: Prometheus) -> dict[tuple[str, str], int]:
    """Return the requests by status and source."""
    samples = prometheus.query("sum by (status, source) (nginx_asr_requests_total) > 0")
    return {(each["metric"]["status"], each["metric"]["source"]): int(each["value"][1]) for each in samples}


def test_errors_that_nginx_answers_by_itself_are_counted_apart(stack: Stack, tmp_path: Path) -> None:
    """A 503 of a slot is the service's. A 502 or 503 without an answer of a slot is Nginx's, and raises the alert."""
    with (
        stack.another(tmp_path / "nginx", connections=1) as nginx,
        counting(nginx.folder / "access.log", tmp_path / "mtail") as target,
        scraping("127.0.0.1:1", tmp_path / "prometheus", nginx=[target]) as prometheus,
    ):
        assert nginx.post(headers={"user-agent": 'a","status":599,"received_bytes":'}).status_code == 200
        with stack.fault("full"):
            assert nginx.post().status_code == 503
        with ThreadPoolExecutor() as pool:
            lost = pool.submit(nginx.post, "/speech?infer_s=60", headers={"x-request-id": "counted"})
            victim = stack.at("counted", "inferring")
            assert nginx.post().status_code == 429
            stack.service.signal(signal.SIGKILL, victim.pid)
            assert lost.result().status_code == 502
        stack.service.ready(0, 1)
        seen = {("200", "service"): 1, ("503", "service"): 1, ("502", "nginx"): 1, ("429", "nginx"): 1}
        until(lambda: counts(prometheus) == seen, what=f"the counts, not {counts(prometheus)}")
        with loading_for_ever(stack, 0, 1, how=signal.SIGKILL):
            assert [nginx.post().status_code for _ in range(10)] == [503] * 10
            assert nginx.get("/health/ready").status_code == 503  # a probe, which does not count
            until(lambda: counts(prometheus) == seen | {("503", "nginx"): 10}, what="the 503s")
            until(lambda: ("AsrNginxErrorRatioHigh", target) in prometheus.firing(), what="the alert")
