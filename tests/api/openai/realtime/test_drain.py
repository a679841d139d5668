"""Sessions of a service that reloads or stops: processes and signals are real, the model is fake."""

import base64
import signal
from pathlib import Path

import pytest
from faster_whisper import decode_audio
from websockets.exceptions import ConnectionClosed

from api.openai.realtime.client import RealtimeClient, realtime
from serving.harness import running
from speech import RECORDINGS
from waiting import until


def speak(client: RealtimeClient) -> None:
    """Begin a turn, and wait until the service has noticed it."""
    samples = decode_audio(str(RECORDINGS["en-wizard"].path), sampling_rate=24_000)[:48_000]
    client.append(base64.b64encode((samples * 32_767).astype("<i2").tobytes()).decode())
    client.until("input_audio_buffer.speech_started")


def test_a_reload_and_a_stop_complete_the_open_turn_and_close_the_session(tmp_path: Path) -> None:
    """The close code 1001 says that the client may connect again. After a reload it is served at once."""
    with running(tmp_path, FAKE_MODEL="0") as service:
        service.ready()
        for sig in (signal.SIGHUP, signal.SIGTERM):
            with realtime(service.url) as client:
                speak(client)
                service.signal(sig)
                with pytest.raises(ConnectionClosed) as closed:
                    client.until("nothing")
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
            assert client.received[-1]["transcript"] == "hello"
            assert not [event for event in client.received if event["type"] == "error"]
            if sig is signal.SIGHUP:
                until(lambda: len(service.lines("ready")) == 2, what="the next worker")
        assert service.ended() == 0
