"""`asr-service health` with a running service, as a container's health check calls it."""

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


def test_the_exit_code_follows_the_state_of_one_slot():
    """It is 0 while the slot is ready, and 1 while it drains or if nothing listens."""
    with serving() as live:
        result = health(ASR_HOST="0.0.0.0", ASR_PORT=str(live.port))
        assert (result.returncode, result.stdout) == (0, f"http://127.0.0.1:{live.port}: ready\n")
        live.app.begin_drain()
        result = health(ASR_PORT=str(live.port))
        assert result.returncode == 1
        assert "503" in result.stdout
    result = health(ASR_PORT=str(live.port))
    assert result.returncode == 1
    assert "no answer" in result.stdout


def test_one_ready_slot_of_several_is_enough(tmp_path):
    """Slots on sockets are queried one by one. The exit code is 0 while any of them is ready."""
    (tmp_path / "faults").mkdir()
    (tmp_path / "faults" / "load_s.1").write_text("600")
    settings = {"ASR_DEVICES": "cpu,cpu", "ASR_SOCKET_DIR": str(tmp_path / "run")}
    with running(tmp_path, None, **settings) as service:
        service.ready(0)
        result = health(**settings)
        assert result.returncode == 0
        assert [line.rpartition(": ")[2] == "ready" for line in result.stdout.splitlines()] == [True, False]
        found = health(**settings | {"ASR_DEVICES": "auto"})  # as if a GPU had failed since the start
        assert (found.returncode, "slot-0.sock: ready" in found.stdout) == (0, True)
        service.process.terminate()
        assert service.ended() == 0
    assert health(**settings).returncode == 1
