"""Options of commands whose values are numbers."""

import pytest

from cli.test_main import run


@pytest.mark.parametrize("given", ["0", "1000000", "1_0", "１", "x", "1.5", " 4", "inf", ""])
def test_a_number_that_an_option_does_not_take_ends_with_2(given):
    """The error names the option, the value and the range. Python alone would read some of these as numbers."""
    result = run("keys", "new", "alice", f"--concurrent-requests={given}")
    shown = " ".join(result.stderr.split())
    assert result.returncode == 2
    assert f"Invalid value for '--concurrent-requests': {given!r} is not a whole number from 1 to 999999." in shown


def test_an_option_takes_fractions_and_may_have_no_maximum():
    """A limit on audio is a number, and the limit on jobs of a worker has a minimum only."""
    result = run("keys", "new", "alice", "--concurrent-requests=4", "--audio-s-per-minute=0.5")
    assert result.stdout.endswith(" concurrent_requests=4 audio_s_per_minute=0.5\n")
    refused = run("worker", "--concurrency=0")
    assert "'0' is not a whole number of at least 1." in " ".join(refused.stderr.split())
