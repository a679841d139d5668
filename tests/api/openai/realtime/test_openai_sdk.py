"""openai-python's own client, unchanged, against the engine with a fake model."""

import base64

import numpy as np
import pytest
from faster_whisper import decode_audio
from openai import AsyncOpenAI, OpenAI
from openai.types.realtime import (
    ConversationItemInputAudioTranscriptionCompletedEvent,
    RealtimeErrorEvent,
    RealtimeTranscriptionSessionCreateRequestParam,
)

from api.live import Live
from speech import RECORDINGS

# The SDK calls a function of `websockets` in a form that is deprecated since 17.1.
pytestmark = pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager:DeprecationWarning")

MANUAL: RealtimeTranscriptionSessionCreateRequestParam = {
    "type": "transcription",
    "audio": {"input": {"transcription": {"model": "whisper-1", "language": "en"}, "turn_detection": None}},
}


@pytest.fixture(scope="module")
def speech() -> list[str]:
    """A recording of 4.9 s and a second of silence, in the base64 of 100 ms each, at the default 24 kHz."""
    samples = decode_audio(str(RECORDINGS["en-wizard"].path), sampling_rate=24_000)
    pcm = (np.concatenate([samples, np.zeros(24_000, np.float32)]) * 32_767).astype("<i2").tobytes()
    return [base64.b64encode(pcm[start : start + 4800]).decode() for start in range(0, len(pcm), 4800)]


def test_the_sdk_transcribes_what_it_commits(live: Live, speech: list[str]) -> None:
    """Without turn detection. The transcript is the model's, and the SDK types every event."""
    client = OpenAI(base_url=f"{live.url}/v1", api_key="any")
    with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        connection.session.update(session=MANUAL)
        for audio in speech:
            connection.input_audio_buffer.append(audio=audio)
        connection.input_audio_buffer.commit()
        for event in connection:
            assert event.type != "error", event
            if isinstance(event, ConversationItemInputAudioTranscriptionCompletedEvent):
                break
    assert isinstance(event, ConversationItemInputAudioTranscriptionCompletedEvent)
    assert event.transcript == "hello"
    assert event.usage.type == "duration"
    assert event.usage.seconds == pytest.approx(len(speech) / 10, abs=0.1)


async def test_the_sdk_gets_the_turns_that_the_service_detects(live: Live, speech: list[str]) -> None:
    """Speech starts, stops, and is committed and completed by itself, with the same item throughout."""
    client = AsyncOpenAI(base_url=f"{live.url}/v1", api_key="any")
    kinds: list[str] = []
    items: set[str] = set()
    async with client.realtime.connect(model="whisper-1") as connection:
        for audio in speech:
            await connection.input_audio_buffer.append(audio=audio)
        async for event in connection:
            kinds.append(event.type)
            items |= {event.item_id} if hasattr(event, "item_id") else set()
            if isinstance(event, ConversationItemInputAudioTranscriptionCompletedEvent):
                break
    assert isinstance(event, ConversationItemInputAudioTranscriptionCompletedEvent)
    assert event.transcript == "hello"
    assert len(items) == 1
    in_order = [
        "session.created",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.completed",
    ]
    assert [kind for kind in kinds if not kind.endswith("delta")] == in_order


async def test_an_error_of_the_service_is_an_event_of_the_sdk(live: Live) -> None:
    """A commit without audio."""
    client = AsyncOpenAI(base_url=f"{live.url}/v1", api_key="any")
    async with client.realtime.connect(model="whisper-1") as connection:
        assert (await connection.recv()).type == "session.created"
        await connection.input_audio_buffer.commit(event_id="mine")
        event = await connection.recv()
    assert isinstance(event, RealtimeErrorEvent)
    assert (event.error.code, event.error.event_id) == ("input_audio_buffer_commit_empty", "mine")


def test_a_session_holds_one_of_the_slots_places(live: Live) -> None:
    """It is free again when the client has left."""
    client = OpenAI(base_url=f"{live.url}/v1", api_key="any")
    with client.realtime.connect(model="whisper-1") as connection:
        connection.recv()
        assert live.admission.open_requests == 1
