"""A service with scripted sessions."""

from collections.abc import Iterator

import pytest

from api.live import Live
from api.openai.realtime.client import RealtimeClient, realtime
from api.openai.realtime.scripted import Sessions, scripted_sessions


@pytest.fixture
def sessions(live: Live) -> Iterator[Sessions]:
    with scripted_sessions(live) as sessions:
        yield sessions


@pytest.fixture
def client(live: Live, sessions: Sessions) -> Iterator[RealtimeClient]:
    with realtime(live.url) as client:
        yield client
