"""Servers that the tests of this folder share."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from api.live import Live, serving
from fakes import FakeModel
from waiting import until


@pytest.fixture(scope="session")
def _shared() -> Iterator[Live]:
    with serving() as live:
        yield live


@pytest.fixture(scope="session")
def _tight() -> Iterator[Live]:
    with serving(
        max_upload_bytes=200_000, max_audio_s=4, upload_timeout_s=0.4, request_timeout_s=1, max_open_requests=2
    ) as live:
        yield live


@pytest.fixture(scope="session")
def _named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    model = FakeModel()
    model.facts = replace(model.facts, name="large-v3-turbo")
    with serving(model, vad_filter=False, state_dir=tmp_path_factory.mktemp("state")) as live:
        yield live


@pytest.fixture
def live(_shared: Live) -> Iterator[Live]:
    """A server with the default settings."""
    yield from fresh(_shared)


@pytest.fixture
def tight(_tight: Live) -> Iterator[Live]:
    """A server with low limits: 200 kB, 4 s of audio, 0.4 s for the next part of an upload, 1 s per request."""
    yield from fresh(_tight)


@pytest.fixture
def named(_named: Live) -> Iterator[Live]:
    """A server with a model named large-v3-turbo, without voice activity detection, with jobs."""
    yield from fresh(_named)


def fresh(live: Live) -> Iterator[Live]:
    default = FakeModel()
    live.model.script, live.model.before = default.script, default.before
    live.model.calls.clear()
    live.admission._asked_at.clear()  # another caller of an earlier test would halve the places
    yield live
    until(live.idle, what="the release of every resource")
