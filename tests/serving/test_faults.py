"""Workers that are killed, stopped or hung cost their own slot, and only for as long as it takes to load again."""

import signal
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from serving.client import CannotConnect, Lost
from serving.harness import Service, running
from waiting import until


def test_a_killed_worker_costs_its_own_requests_and_nothing_else(tmp_path):
    """The other slot serves on; the successor has the slot and its socket; gauges are right; the restart is counted."""
    with running(tmp_path, ASR_DEVICES="cpu,cpu") as service, ThreadPoolExecutor() as pool:
        old = service.ready(0, 1).about(0)["pid"]
        neighbour = service.about(1)["pid"]
        lost = pool.submit(service.get, "/work?s=30", 0)
        kept = pool.submit(service.get, "/work?s=1", 1)
        until(lambda: service.metric('asr_inflight_requests{slot="0"}', slot=1) == 1)
        (tmp_path / "faults" / "load_s.0").write_text("1")
        service.signal(signal.SIGKILL, old)
        until(lambda: service.metric('asr_slot_ready{slot="0"}', slot=1) == 0)
        assert isinstance(lost.exception(), Lost)
        assert kept.result().text == "done"
        assert service.ready(0).about(0)["pid"] != old
        assert service.about(1)["pid"] == neighbour
        assert service.metric('asr_worker_restarts_total{slot="0"}', slot=1) == 1
        assert service.metric('asr_inflight_requests{slot="0"}', slot=1) == 0
        assert service.metric('asr_slot_ready{slot="0"}', slot=1) == 1
        assert "SIGKILL" in service.lines("worker ended")[0]["how"]


def test_many_deaths_leave_nothing_behind(tmp_path):
    """After five kills: as many descriptors and metric files as before, counters that never fell, right gauges."""
    with running(tmp_path) as service:
        master = psutil.Process(service.ready().process.pid)
        service.get("/work")
        n_descriptors, files = master.num_fds(), sorted(path.name for path in service.metrics_dir.iterdir())
        for _ in range(5):
            old = service.about()["pid"]
            service.signal(signal.SIGKILL, old)
            until(lambda old=old: _about_another(service, old))  # type: ignore[misc]
        until(lambda: service.get("/work").status == 200)
        assert master.num_fds() == n_descriptors
        assert sorted(path.name for path in service.metrics_dir.iterdir()) == files
        assert service.metric('asr_worker_restarts_total{slot="0"}') == 5
        assert (service.metric("asr_audio_seconds_total") or 0) >= 2
        assert service.metric('asr_inflight_requests{slot="0"}') == 0
        assert not [child for child in master.children() if child.status() == psutil.STATUS_ZOMBIE]


def test_a_master_that_hangs_shows_where(tmp_path):
    """SIGABRT, as systemd's watchdog sends it, ends the master with its stack; its worker finishes and ends."""
    with running(tmp_path) as service:
        service.ready()
        service.signal(signal.SIGABRT)
        assert service.ended() == -signal.SIGABRT
        until(lambda: "The master has gone" in service.text())
        assert "Current thread" in service.text()


def _about_another(service: Service, old: int) -> bool:
    try:
        return bool(service.about()["pid"] != old)
    except (CannotConnect, Lost):
        return False


@pytest.mark.parametrize("fault", ["stopped", "hung"])
def test_a_worker_whose_loop_stands_still_is_replaced(tmp_path, fault):
    """By SIGSTOP or by code that blocks the loop: the heartbeat ends, and so does the worker."""
    with running(tmp_path, {"heartbeat_s": 1}) as service, ThreadPoolExecutor() as pool:
        old = service.ready().about()["pid"]
        if fault == "stopped":
            service.signal(signal.SIGSTOP, old)
        else:
            pool.submit(service.get, "/hang")
        until(lambda: service.workers() and old not in service.workers(), what="another worker")
        assert until(lambda: _about_another(service, old))
        assert "WORKER TIMEOUT" in service.text()
        if fault == "hung":
            assert "Current thread" in service.text()  # where the loop stood
