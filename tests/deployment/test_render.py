"""`asr-service render` as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path


def render(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from asr_service.cli import main; main()", "render", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=os.environ | environ, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_printed_and_the_written_text_are_the_same(tmp_path):
    """Without --output only the text is printed."""
    options = ("nginx", "--server-name", "asr.example.com", "--devices", "cpu,cpu,cpu")
    printed = render(*options, cwd=tmp_path)
    written = render(*options, "--output", str(tmp_path / "new" / "folder"), cwd=tmp_path)
    assert (printed.returncode, written.returncode, written.stdout) == (0, 0, "")
    assert (tmp_path / "new" / "folder" / "asr-service.conf").read_text() == printed.stdout
    assert printed.stdout.count("slot-2.sock max_fails=0;") == 2


def test_the_settings_are_those_of_the_service(tmp_path):
    """The files follow the environment and .env."""
    (tmp_path / ".env").write_text("ASR_DEVICES=cuda:0,cuda:1\nASR_MAX_UPLOAD_BYTES=12345\n")
    text = render(
        "nginx", "--server-name", "a.b", cwd=tmp_path, ASR_SOCKET_DIR="/srv/s", ASR_REQUEST_TIMEOUT_S="60.5"
    ).stdout
    for line in ("server unix:/srv/s/slot-1.sock", "client_max_body_size 12345;", "proxy_read_timeout 75500ms;"):
        assert line in text


def test_an_error_is_one_line_and_exit_code_78(tmp_path):
    """The causes are a directory that cannot be created and an invalid option."""
    (tmp_path / "file").write_text("")
    told = render("nginx", "--server-name", "a.b", "--output", str(tmp_path / "file"), cwd=tmp_path)
    assert (told.returncode, told.stdout, told.stderr.count("\n")) == (78, "", 1)
    told = render("nginx", "--server-name", "a;b", cwd=tmp_path)
    assert (told.returncode, told.stdout, told.stderr.count("\n")) == (78, "", 1)
