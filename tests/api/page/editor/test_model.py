"""The editor's document, without a page: the tests are in JavaScript, and Node.js runs them."""

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.test.mjs"))


@pytest.mark.needs_program("node")
def test_the_tests_in_javascript_pass() -> None:
    """Each file has several; a failure shows which."""
    assert len(FILES) >= 3
    ran = subprocess.run(["node", "--test", *FILES], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
