"""`asr-service health` beside a running service, as a container's health check calls it."""

import os
import subprocess
import sys
from pathlib import Path

from api.live import serving
from serving.harness import running


def health(**settings: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("asr-service")), "health"]
    environ = {**os.environ, "ASR_DEVICES": "cpu", **settings}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


def test_it_follows_the_slot_behind_a_port():
    """0 while requests are taken, 1 while the model loads, with what the service says, and 1 where nobody listens."""
    with serving() as live:
        told = health(ASR_HOST="0.0.0.0", ASR_PORT=str(live.port))
        assert (told.returncode, told.stdout) == (0, f"http://127.0.0.1:{live.port}: ready\n")
        live.app.begin_drain()
        told = health(ASR_PORT=str(live.port))
        assert told.returncode == 1
        assert "503" in told.stdout
    told = health(ASR_PORT=str(live.port))
    assert told.returncode == 1
    assert "no answer" in told.stdout


def test_one_slot_of_several_is_enough(tmp_path):
    """Slots on sockets are asked one by one; the service is well while any of them answers."""
    (tmp_path / "faults").mkdir()
    (tmp_path / "faults" / "load_s.1").write_text("600")
    settings = {"ASR_DEVICES": "cpu,cpu", "ASR_SOCKET_DIR": str(tmp_path / "run")}
    with running(tmp_path, None, **settings) as service:
        service.ready(0)
        told = health(**settings)
        assert told.returncode == 0
        assert [line.rpartition(": ")[2] == "ready" for line in told.stdout.splitlines()] == [True, False]
        found = health(**settings | {"ASR_DEVICES": "auto"})  # as where a GPU has fallen away since
        assert (found.returncode, "slot-0.sock: ready" in found.stdout) == (0, True)
        service.process.terminate()
        assert service.ended() == 0
    assert health(**settings).returncode == 1
