"""A program that a test needs and that is missing."""

import re
from pathlib import Path

import pytest

from programs import DEBIAN_PACKAGES, require_program

ROOT = Path(__file__).parents[1]


def test_a_missing_program_skips_a_test(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install nodejs"):
        require_program("node")


def test_a_missing_program_fails_a_test_in_ci(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install nodejs"):
        require_program("node")


def test_ci_installs_every_program_that_tests_need():
    installed = set(re.findall(r"missing\+=\(([\w-]+)\)", (ROOT / ".ci/run").read_text()))
    assert set(DEBIAN_PACKAGES.values()) <= installed
