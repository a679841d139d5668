"""The order in which everybody's patience ends."""

from dataclasses import astuple

import pytest

from asr_service.serving import Timeouts
from asr_service.settings import Settings


def test_the_default_table_is_the_documented_one():
    """What deploy/ writes into Nginx, systemd and Kubernetes follows from ASR_REQUEST_TIMEOUT_S=300."""
    assert astuple(Timeouts.for_request(Settings().request_timeout_s)) == (300, 315, 320, 330, 345, 360)


@pytest.mark.parametrize("request_s", [0.5, 60, 3600])
def test_each_waits_longer_than_the_one_inside_it(request_s):
    """Whatever the deadline, the inner party gives its own answer before the outer one cuts it off."""
    table = astuple(Timeouts.for_request(request_s))
    assert list(table) == sorted(set(table))
