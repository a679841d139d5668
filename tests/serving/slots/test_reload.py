"""SIGHUP: every slot gets a new worker, and no client notices it."""

import itertools
import os
import signal
import threading

from serving.client import CannotConnect, Lost
from serving.harness import Service, running
from waiting import until


class Proxy(threading.Thread):
    """Send requests to the slots in turn without a pause; the next slot is tried only if a connection fails."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self.service = service
        self.enough = threading.Event()
        self.answers: list[str] = []

    def run(self) -> None:
        for turn in itertools.count():
            if self.enough.is_set():
                return
            self.answers.append(self._ask(turn))

    def _ask(self, turn: int) -> str:
        for slot in (turn % 2, (turn + 1) % 2):
            try:
                return self.service.get("/work?s=0.05", slot).text
            except CannotConnect:
                continue
            except Lost as error:
                return repr(error)
        return "no slot"


def test_a_reload_replaces_every_worker_and_no_request_fails(tmp_path):
    """A slot is stopped only when the one before it serves again."""
    with running(tmp_path, ASR_DEVICES="cpu,cpu") as service:
        before = [service.ready(0, 1).about(slot)["pid"] for slot in (0, 1)]
        clients = [Proxy(service) for _ in range(3)]
        for client in clients:
            client.start()
        (tmp_path / "faults" / "load_s").write_text("0.7")
        service.signal(signal.SIGHUP)
        until(lambda: service.lines("reload complete"))
        for client in clients:
            client.enough.set()
            client.join()
        answers = [answer for client in clients for answer in client.answers]
        assert len(answers) > 20
        assert set(answers) == {"done"}
        assert not set(before) & {service.about(slot)["pid"] for slot in (0, 1)}


def test_a_failed_reload_does_not_change_the_other_slots(tmp_path):
    """If the first slot cannot load the model, the second is not reloaded."""
    with running(tmp_path, {"boot_margin_s": 0.2}, ASR_DEVICES="cpu,cpu", ASR_MODEL_LOAD_TIMEOUT_S="1") as service:
        kept = service.ready(0, 1).about(1)["pid"]
        (tmp_path / "faults" / "fail").write_text("69:the new model is broken")
        service.signal(signal.SIGHUP)
        until(lambda: service.lines("The slot did not become ready; the reload stops."))
        assert service.about(1)["pid"] == kept
        assert service.answers(1)
        (tmp_path / "faults" / "fail").unlink()
        service.ready(0)


def test_a_slot_that_was_down_is_started_by_a_reload_and_not_ended_by_it(tmp_path):
    """Its worker is already new: to end it would waste a model that has just been loaded."""
    with running(
        tmp_path, {"drain_s": 1, "backoff_most_s": 600, "backoff_first_s": 300}, ASR_DEVICES="cpu,cpu"
    ) as service:
        old = service.ready(0, 1).about(0)["pid"]
        fault = tmp_path / "faults" / "fail.0"
        fault.write_text("70:its model is away")
        os.kill(old, signal.SIGKILL)
        until(lambda: any(line.get("reason") == "its model is away" for line in service.lines("worker ended")))
        fault.unlink()
        service.signal(signal.SIGHUP)
        until(lambda: service.lines("reload complete"))
        assert not service.lines("The worker did not end in time and is killed.")
        n_starts = [line for line in service.lines("loading") if line.get("slot") == 0]
        assert len(n_starts) == 3  # at first, in vain, and by the reload


def test_a_slot_that_was_loading_is_restarted_at_once(tmp_path):
    """A worker that the reload ends before it was ready does not count as a failure."""
    (tmp_path / "faults").mkdir()
    fault = tmp_path / "faults" / "load_s.0"
    fault.write_text("600")
    with running(tmp_path, {"backoff_first_s": 300, "backoff_most_s": 600}, ASR_DEVICES="cpu,cpu") as service:
        service.ready(1)
        fault.unlink()
        service.signal(signal.SIGHUP)
        service.ready(0)
        until(lambda: service.lines("reload complete"))
