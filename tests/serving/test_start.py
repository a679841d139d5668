"""How a service starts, and how it reports that it cannot."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from asr_service.errors import ConfigurationError
from asr_service.serving.sockets import claim_directory, run_directory
from asr_service.settings import Settings
from serving.harness import running
from waiting import until


def test_one_slot_answers_503_on_its_port_while_it_loads(tmp_path):
    """The port is open at once, answers 503 until the model has loaded, and then serves."""
    (tmp_path / "faults").mkdir()
    (tmp_path / "faults" / "load_s").write_text("1.5")
    with running(tmp_path) as service:
        assert service.get("/work").status == 503
        service.ready()
        assert service.get("/work").status == 200


def test_a_slots_socket_exists_only_while_the_slot_is_ready(tmp_path):
    """Each of several slots has its own socket, for owner and group, which appears when the slot is ready."""
    (tmp_path / "faults").mkdir()
    (tmp_path / "faults" / "load_s.1").write_text("1.5")
    (tmp_path / "run").mkdir()
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "run" / "slot-1.sock"))  # as a killed service leaves it
    stale.close()
    with running(tmp_path, ASR_DEVICES="cpu,cpu") as service:
        service.ready(0)
        assert not service.socket(1).exists()
        service.ready(1)
        assert [service.about(slot)["slot"] for slot in (0, 1)] == [0, 1]
        assert len({service.about(slot)["pid"] for slot in (0, 1)}) == 2
        assert stat.S_IMODE(service.socket(0).stat().st_mode) == 0o660
        service.signal(signal.SIGTERM)
        assert service.ended() == 0
        assert not list((tmp_path / "run").glob("slot-*"))


def test_gunicorns_own_controls_are_off(tmp_path):
    """There is no control socket and no second master, and signals do not change the number of workers."""
    home = tmp_path / "home"
    home.mkdir()
    with running(tmp_path, HOME=str(home), XDG_RUNTIME_DIR=str(home), WEB_CONCURRENCY="3") as service:
        worker = service.ready().about()["pid"]
        for sig in (signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR2, signal.SIGUSR1, signal.SIGWINCH):
            service.signal(sig)
        until(lambda: service.text().count("is ignored") == 3)
        assert service.get("/work").status == 200
        until(lambda: service.workers() == {worker}, what="one worker")
        assert not list(home.rglob("*"))


def test_a_slot_sees_only_its_device(tmp_path):
    """A worker on the CPU sees no GPU, so that no library uses its memory."""
    with running(tmp_path) as service:
        assert service.ready().get("/environment").json()["CUDA_VISIBLE_DEVICES"] == ""


def test_a_port_in_use_is_named_with_its_process_and_the_fix(tmp_path):
    """The message is one line, and the exit code is 78."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running(tmp_path, ASR_PORT=str(port)) as service:
            assert service.ended() == 78
            said = service.text()
    assert len(said.splitlines()) == 1
    assert f"Port {port}" in said
    assert f"pid {os.getpid()}" in said
    assert "ASR_PORT" in said


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ASR_SOCKET_DIR", "/proc/nowhere", "ASR_SOCKET_DIR"),
        ("ASR_METRICS_DIR", "/proc/nowhere", "ASR_METRICS_DIR"),
        ("ASR_DEVICES", "cpu,tpu:0", "tpu:0"),
        ("ASR_HOST", "203.0.113.1", "ASR_HOST"),
        ("ASR_HOST", "127..0.1", "ASR_HOST"),
        ("ASR_SOCKET_DIR", "/tmp/" + "a-long-way-down/" * 6, "ASR_SOCKET_DIR"),  # too long for a socket
    ],
)
def test_a_setting_that_cannot_be_used_is_named(tmp_path, name, value, says):
    """No worker is started."""
    with running(tmp_path, **({"ASR_DEVICES": "cpu" if name == "ASR_HOST" else "cpu,cpu"} | {name: value})) as service:
        assert service.ended() == 78
        assert says in service.text()


def test_a_directory_that_the_operator_did_not_choose_is_not_named_as_a_setting(tmp_path):
    """One slot needs ASR_SOCKET_DIR for its metrics, so that is the setting to change."""
    with running(tmp_path, ASR_SOCKET_DIR="/proc") as service:
        assert service.ended() == 78
        assert "Set ASR_SOCKET_DIR" in service.text()
        assert "ASR_METRICS_DIR" not in service.text()


@pytest.mark.parametrize(("name", "warnings"), [("nowhere", 1), ("uploads", 0)])
def test_a_temporary_directory_that_cannot_be_used_is_logged(tmp_path, name, warnings):
    """Uploads go to another directory, since a full disk may have space again after the start."""
    (tmp_path / "uploads").mkdir()
    with running(tmp_path / "service", TMPDIR=str(tmp_path / name)) as service:
        service.ready()
        lines = service.lines("Uploads are stored elsewhere: no file can be written in TMPDIR.")
        assert [line["wanted"] for line in lines] == [str(tmp_path / name)] * warnings


def test_too_low_a_limit_of_open_files_is_refused(tmp_path):
    """Otherwise the slot would become ready and fail at its requests."""
    with running(tmp_path, OPEN_FILES="40:40") as service:
        assert service.ended() == 78
        (said,) = service.text().splitlines()
    assert "may have 40 files open" in said
    assert "LimitNOFILE=" in said


@pytest.mark.parametrize("option", ["--port=9000", "--host=127.0.0.1"])
def test_an_address_is_refused_with_several_slots(tmp_path, option):
    """They listen on unix sockets, so the option would have no effect."""
    command = [sys.executable, "-c", "from asr_service.cli import main; main()", "serve", "--devices=cpu,cpu", option]
    environ = os.environ | {"ASR_SOCKET_DIR": str(tmp_path), "ASR_LOG_FORMAT": "plain"}
    result = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 78
    assert "--host and --port are for one slot, and ASR_DEVICES=cpu,cpu makes 2" in result.stderr


def test_two_services_do_not_share_a_directory(tmp_path):
    """The second service says why it cannot start, and the sockets of the first stay."""
    with running(tmp_path, ASR_DEVICES="cpu,cpu") as service:
        service.ready(0, 1)
        with pytest.raises(ConfigurationError, match="another asr-service"):
            claim_directory(tmp_path / "run")
        assert service.answers(0)


def test_the_directory_of_another_user_is_refused(tmp_path):
    """In a directory that everyone can write, such as /tmp, a link could lead anywhere."""
    tmp_path.chmod(0o1777)
    (tmp_path / "asr-service").symlink_to("/")
    with pytest.raises(ConfigurationError, match="another user"):
        claim_directory(tmp_path / "asr-service")
    with running(tmp_path / "one", ASR_SOCKET_DIR=str(tmp_path / "asr-service")) as service:
        assert service.ended() == 78
        assert "another user" in service.text()


def test_a_proxy_of_the_group_can_enter_the_directory_of_the_sockets(tmp_path):
    """Whatever the umask of the service is. The mode of a directory that exists is the operator's."""
    before = os.umask(0o077)
    try:
        os.close(claim_directory(tmp_path / "new"))
        (tmp_path / "made").mkdir(mode=0o700)
        os.close(claim_directory(tmp_path / "made"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o700


def test_the_directory_is_that_of_systemd_or_the_session_or_a_temporary_one(tmp_path):
    settings = Settings()
    assert str(run_directory(settings, {"RUNTIME_DIRECTORY": "/run/a:/run/b", "XDG_RUNTIME_DIR": "/x"})) == "/run/a"
    assert str(run_directory(settings, {"XDG_RUNTIME_DIR": "/x"})) == "/x/asr-service"
    assert run_directory(settings, {}).name == f"asr-service-{os.geteuid()}"
    assert run_directory(Settings(socket_dir=tmp_path), {}) == tmp_path


def test_a_service_without_a_slot_that_can_start_ends_with_the_reason(tmp_path):
    """A missing model is not retried for ever: the last line is the reason, and the exit code is 69."""
    (tmp_path / "faults").mkdir()
    (tmp_path / "faults" / "fail").write_text("69:there is no model, and no hub")
    with running(tmp_path, ASR_DEVICES="cpu,cpu") as service:
        assert service.ended() == 69
        assert service.text().splitlines()[-1] == "there is no model, and no hub"


def test_the_reason_is_known_while_the_slot_is_retried(tmp_path):
    """The reason is that of the slot's last worker, even while its next worker starts."""
    faults = tmp_path / "faults"
    faults.mkdir()
    (faults / "fail").write_text("69:there is no model, and no hub")
    (faults / "load_s.1").write_text("2")
    with running(tmp_path, ASR_DEVICES="cpu,cpu") as service:
        until(lambda: service.lines("worker ended"))
        (faults / "load_s.0").write_text("60")
        assert service.ended() == 69
        assert service.text().splitlines()[-1] == "there is no model, and no hub"


@pytest.mark.parametrize(("fault", "text"), [("boom", "no such file"), ("fail", "3:one"), ("fail", "4:two")])
def test_a_slot_that_cannot_start_waits_while_the_others_serve(tmp_path, fault, text):
    """It is retried with growing delays, and serves as soon as it can."""
    (tmp_path / "faults").mkdir()
    (tmp_path / "faults" / f"{fault}.1").write_text(text)
    with running(tmp_path, ASR_DEVICES="cpu,cpu") as service:
        service.ready(0)
        until(lambda: len(service.lines("worker ended")) >= 3)
        ends = service.lines("worker ended")
        assert [line["retry_in_s"] for line in ends[:3]] == [0.2, 0.4, 0.8]
        assert all(text.partition(":")[2] in line["reason"] and line["slot"] == 1 for line in ends)
        assert service.answers(0)
        (tmp_path / "faults" / f"{fault}.1").unlink()
        service.ready(1)


def test_the_command_says_why_it_cannot_serve(tmp_path):
    """`asr-service serve` ends with an exit code and one line, in the log's format if the log is JSON."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, said = serve_in_vain(tmp_path, ASR_PORT=port)
        line = json.loads(said)
        assert (code, line["event"], line["level"]) == (78, "asr-service cannot serve", "critical")
        assert re.fullmatch(rf"Port {port} .* ASR_PORT .*", line["reason"])
        _, said = serve_in_vain(tmp_path, ASR_PORT=port, ASR_LOG_FORMAT="plain")
        assert said == f"asr-service cannot serve: {line['reason']}\n"


@pytest.mark.parametrize(
    ("settings", "code", "names"),
    [
        ({"ASR_PROT": "80"}, 78, "ASR_PORT"),  # before it is known how to log
        ({"ASR_DEVICES": "cuda:9"}, 69, "cuda:9"),  # its driver may come
        ({"ASR_DEVICES": "gpu:9"}, 78, "gpu:9"),
    ],
)
def test_the_exit_code_says_whether_a_retry_helps(tmp_path, settings, code, names):
    """systemd's unit is not restarted after 78, and is after 69."""
    ended_with, said = serve_in_vain(tmp_path, **settings)
    assert ended_with == code
    assert names in json.loads(said)["reason"]


def serve_in_vain(folder: Path, **settings: str) -> tuple[int, str]:
    """Return the exit code and the output."""
    command = "import typer; from asr_service.cli.serve import serve_command; typer.run(serve_command)"
    environ = os.environ | {"ASR_SOCKET_DIR": str(folder), "ASR_DEVICES": "cpu"} | settings
    done = subprocess.run(
        [sys.executable, "-c", command], env=environ, check=False, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stderr


def test_a_worker_runs_numpy_on_one_thread(tmp_path):
    """OpenBLAS reads the variable when NumPy is imported: the worker has it, and the master does not import NumPy."""
    with running(tmp_path) as service:
        assert service.ready().get("/environment").json()["OPENBLAS_NUM_THREADS"] == "1"
    look = "import sys, asr_service.serving, asr_service.cli.serve; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout == "False\n"
