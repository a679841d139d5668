"""The command that installs an extra."""

import subprocess

import pytest

from asr_service.extras import install_command


@pytest.mark.parametrize("extra", ["cluster", "otel"])
def test_the_command_finds_the_project_without_a_package_index(extra: str) -> None:
    """The project is on no index: the pip of this environment takes the installed one."""
    command = f"{install_command(extra)} --no-index --dry-run --disable-pip-version-check"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Would install" not in done.stdout
