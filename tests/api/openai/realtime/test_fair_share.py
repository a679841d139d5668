"""Live places of a real slot, its engine and two callers."""

import json
from dataclasses import replace

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from api.live import serving
from api.openai.realtime.client import RealtimeClient, realtime
from asr_service.access.keys import entry, new_secret
from asr_service.engine.pipeline.live import places
from fakes import FakeModel
from waiting import until

GREEDY, HONEST = new_secret(), new_secret()


def close_of(client: RealtimeClient) -> tuple[int, str]:
    """Return how the service closes the session, which gets no other event before."""
    with pytest.raises(ConnectionClosed) as closed:
        client.next()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


def test_one_caller_cannot_keep_all_places(monkeypatch):
    """Another one gets a place at once: that of a session without audio, or else the newest one."""
    model = FakeModel()
    model = replace(model, facts=replace(model.facts, threads=1))  # it has two places
    with serving(model, api_keys=f"{entry('greedy', GREEDY)},{entry('honest', HONEST)}") as live:
        with realtime(live.url, key=GREEDY) as first, realtime(live.url, key=GREEDY) as second:
            with pytest.raises(InvalidStatus) as refused, realtime(live.url, key=GREEDY):
                pass
            assert json.loads(refused.value.response.body)["error"]["code"] == "overloaded"
            with realtime(live.url, key=HONEST):
                code, reason = close_of(second)
                assert (code, reason.split(".")[1]) == (1013, " Try again later")
            monkeypatch.setattr(places, "SILENT_S", 0.0)
            with realtime(live.url, key=GREEDY), realtime(live.url, key=HONEST):
                assert close_of(first)[0] == 1001
        until(live.idle)
        assert live.metric('asr_live_given_up_total{reason="yielded"}') >= 1
        assert live.metric('asr_live_given_up_total{reason="silent"}') >= 1
        assert live.metric("asr_live_refused_total") >= 1
