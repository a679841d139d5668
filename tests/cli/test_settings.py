"""`asr-service settings` prints every setting."""

import subprocess
import sys


def test_each_value_is_printed_with_its_source(tmp_path):
    """The environment takes precedence over .env, and .env over the default."""
    (tmp_path / ".env").write_text("ASR_PORT=8100\nASR_BEAM_SIZE=3\n")
    command = [sys.executable, "-c", "from asr_service.cli import main; main()", "settings"]
    result = subprocess.run(
        command, cwd=tmp_path, env={"ASR_PORT": "8200"}, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert "ASR_PORT=8200  (environment)" in result
    assert "ASR_BEAM_SIZE=3  (.env)" in result
    assert "ASR_HOST=127.0.0.1  (default)" in result
