"""The order of the time-outs, and the number of connections."""

import resource
from dataclasses import astuple

import pytest

from asr_service.serving import Timeouts
from asr_service.serving.limits import max_connections
from asr_service.settings import Settings


def test_the_default_time_outs_are_the_documented_ones():
    """The time-outs in deploy/ follow from ASR_REQUEST_TIMEOUT_S=300."""
    assert astuple(Timeouts.for_request(Settings().request_timeout_s)) == (300, 315, 320, 330, 345, 360)


@pytest.mark.parametrize("request_s", [0.5, 60, 3600])
def test_each_part_waits_longer_than_the_part_inside_it(request_s):
    """For every deadline, each part ends before the part around it."""
    table = astuple(Timeouts.for_request(request_s))
    assert list(table) == sorted(set(table))


@pytest.mark.parametrize(
    ("open_files", "connections"),
    [(65_536, 8192), (4096, 4096 - 128 - 6 * 64), (1024, 512), (256, 128), (resource.RLIM_INFINITY, 8192)],
)
def test_connections_leave_descriptors_for_the_files_of_all_open_requests(monkeypatch, open_files, connections):
    """At a low limit of open files they get half of it."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (open_files, open_files))
    assert max_connections(64) == connections
