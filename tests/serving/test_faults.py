"""A worker that is killed, stopped or hung affects only its own slot, until a new worker has loaded."""

import signal
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from processes import ZOMBIE, children
from serving.client import CannotConnect, Lost
from serving.harness import Service, running
from waiting import until


def test_a_killed_worker_fails_only_its_own_requests(tmp_path):
    """The other slot goes on, a new worker takes the slot and its socket, and metrics show the restart."""
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


def test_many_killed_workers_leave_no_files_or_descriptors(tmp_path):
    """After five kills there are as many descriptors and metric files as before, and counters and gauges are right."""
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
        assert ZOMBIE not in children(master.pid).values()


def test_a_master_that_hangs_prints_its_stack(tmp_path):
    """SIGABRT, as from systemd's watchdog, ends the master and prints its stack; its worker finishes and ends."""
    with running(tmp_path) as service:
        service.ready()
        service.signal(signal.SIGABRT)
        assert service.ended() == -signal.SIGABRT
        until(lambda: "The master has gone" in service.text())
        assert "Current thread" in service.text()


def test_signals_that_arrive_together_are_all_handled(tmp_path):
    """A master that was suspended gets its signals at once, and ends as the last of them says."""
    with running(tmp_path) as service:
        service.ready()
        service.signal(signal.SIGSTOP)
        for name in ("HUP", "USR1", "USR2", "WINCH", "CHLD", "TERM", "CONT"):
            service.signal(signal.Signals[f"SIG{name}"])
        assert service.ended() == 0, service.text()
        assert service.lines("reload begins")
        assert [line["graceful"] for line in service.lines("stopping")] == [True]
        assert "SIGUSR2 is ignored" in service.text()


def _about_another(service: Service, old: int) -> bool:
    try:
        return bool(service.about().get("pid", old) != old)  # without a worker the answer has no pid
    except (CannotConnect, Lost):
        return False


@pytest.mark.parametrize("fault", ["stopped", "hung"])
def test_a_worker_with_a_blocked_event_loop_is_replaced(tmp_path, fault):
    """SIGSTOP, or code that blocks the loop, stops the heartbeat, and the master replaces the worker."""
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
            assert "Current thread" in service.text()  # the blocked code
