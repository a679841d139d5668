"""The descriptions of how workers ended."""

import pytest

from asr_service.serving.exit_status import describe_exit


@pytest.mark.parametrize(("exit_code", "description"), [(3, "exit code 3"), (-11, "SIGSEGV"), (-35, "signal 35")])
def test_every_end_of_a_worker_has_a_description(exit_code, description):
    """Most real-time signals have no name of their own."""
    assert describe_exit(exit_code) == description
