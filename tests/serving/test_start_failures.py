"""The real command on a machine where no slot can start: it ends, and says why once."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = "import typer; from asr_service.cli.serve import serve_command; typer.run(serve_command)"


def serve(folder: Path, **settings: str) -> tuple[int, str]:
    """Run `asr-service serve` until it ends by itself. Return its exit code and what it writes to standard error."""
    environ = os.environ | {
        "ASR_SOCKET_DIR": str(folder),
        "ASR_PORT": "0",
        "ASR_DEVICES": "cpu",
        "ASR_OFFLINE": "true",
        "ASR_MODEL_DIR": str(folder / "models"),
    }
    command = [sys.executable, "-c", COMMAND]
    done = subprocess.run(command, env=environ | settings, check=False, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


@pytest.mark.parametrize("log_format", ["plain", "json"])
def test_an_unsupported_precision_ends_the_service_with_one_message(tmp_path, log_format):
    """Exit code 78, so that systemd does not start it again. The message names the precisions that the CPU has."""
    began = time.monotonic()
    code, log = serve(tmp_path, ASR_COMPUTE_TYPE="float16", ASR_MODEL="base", ASR_LOG_FORMAT=log_format)
    assert code == 78
    assert time.monotonic() - began < 30  # 3 s on an idle machine of two cores
    (line,) = [line for line in log.splitlines() if "Precision float16 is not supported" in line]
    assert line == log.splitlines()[-1]
    assert "Set ASR_COMPUTE_TYPE to one of: int8, int8_float32, float32." in line


def test_a_missing_model_ends_the_service_with_one_readable_message(tmp_path):
    """Exit code 69. What was tried and what to do are lines of their own on a terminal."""
    code, log = serve(tmp_path, ASR_MODEL="small", ASR_LOG_FORMAT="plain")
    assert code == 69
    assert "Shutting down" not in log
    assert log.count("The model 'small' is missing or incomplete.") == 1
    assert "\\n" not in log
    assert "\n  - asr-service models fetch small" in log
