"""Real programs that tests start, such as Nginx: a missing one skips its tests, and fails them in CI."""

import os
import shutil
from typing import Final, NoReturn

import pytest

DEBIAN_PACKAGES: Final = {
    "chromium-headless-shell": "chromium-headless-shell",
    "curl": "curl",
    "docker-compose": "docker-compose",
    "ffmpeg": "ffmpeg",
    "mtail": "mtail",
    "nginx": "nginx-light",
    "node": "nodejs",
    "prometheus": "prometheus",
    "prometheus-blackbox-exporter": "prometheus-blackbox-exporter",
    "promtool": "prometheus",
    "redis-server": "redis-server",
    "systemd-analyze": "systemd",
}
"""Each program that `@pytest.mark.needs_program(NAME)` may name, and the Debian package that has it."""


def find_program(name: str) -> str | None:
    """Return the program's path; Debian keeps some where only root's PATH leads."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def require_program(name: str) -> None:
    """Skip the test that runs, or fail it in CI, if the program is not installed."""
    if find_program(name) is None:
        report_missing(f"{name} is not installed: apt-get install {DEBIAN_PACKAGES[name]}")


def report_missing(reason: str) -> NoReturn:
    """Skip the test that runs or, if the environment has CI=true, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (tests may not be skipped where CI=true)")
    pytest.skip(reason)
