"""How the sound of a live session is divided into turns."""

import time
from dataclasses import replace

import numpy as np
import pytest

from asr_service.audio import SAMPLE_RATE
from asr_service.engine.options import DecodingOptions
from asr_service.engine.pipeline.live.events import (
    Cleared,
    IdleTimeout,
    LiveEvent,
    TurnCommitted,
    TurnStarted,
    TurnStopped,
)
from asr_service.engine.pipeline.live.listener import MAX_WINDOW_S, Listener, Reactions
from asr_service.engine.pipeline.live.options import LiveOptions, ServerVad
from asr_service.engine.pipeline.live.turn import ClosedWindow, Window

FRAME = 512
MANUAL = LiveOptions(turn_detection=None)


class Room:
    """A listener, what it reported, and sound in frames of given probabilities."""

    def __init__(self, options: LiveOptions | None = None) -> None:
        self.events: list[LiveEvent] = []
        self.closed: list[ClosedWindow] = []
        self.paused: list[Window] = []
        self.listener = Listener(
            options or LiveOptions(),
            Reactions(
                event=self.events.append,
                paused=lambda window, _: self.paused.append(window),
                resumed=lambda _: None,
                closed=self.closed.append,
                discarded=lambda _: None,
            ),
        )

    def speak(self, seconds: float) -> "Room":
        return self._hear(seconds, 0.9)

    def hush(self, seconds: float) -> "Room":
        return self._hear(seconds, 0.01)

    def _hear(self, seconds: float, probability: float) -> "Room":
        for _ in range(round(seconds * SAMPLE_RATE / FRAME)):
            self.listener.push(np.zeros(FRAME, np.float32), [probability])
        return self

    def of(self, kind: type) -> list[LiveEvent]:
        return [event for event in self.events if isinstance(event, kind)]


async def test_turns_begin_with_speech_and_end_with_silence():
    """Each has its padding, its commit names the turn before it, and its speech goes to be decoded."""
    room = Room().hush(2).speak(3).hush(1).speak(2).hush(1)
    first, second = room.of(TurnStarted)
    assert isinstance(first, TurnStarted)
    assert isinstance(second, TurnStarted)
    assert first.audio_start_ms == pytest.approx(1700, abs=40)
    assert [event.audio_end_ms for event in room.events if isinstance(event, TurnStopped)] == [
        pytest.approx(5512, abs=40),
        pytest.approx(8512, abs=40),
    ]
    assert room.of(TurnCommitted) == [
        TurnCommitted(first.turn_id, None),
        TurnCommitted(second.turn_id, first.turn_id),
    ]
    assert [type(event) for event in room.events] == [TurnStarted, TurnStopped, TurnCommitted] * 2
    assert [closing.chunk is not None and closing.is_last for closing in room.closed] == [True, True]
    assert len(room.paused) == 2


async def test_silence_opens_no_turn_and_takes_no_memory():
    """However long it is."""
    room = Room().hush(600)
    assert room.events == []
    assert len(room.listener._sound.cut(room.listener._sound.start, room.listener.end)) < 3 * SAMPLE_RATE
    assert len(room.listener._probabilities) < 100


async def test_long_speech_ends_at_the_first_pause_and_is_continued():
    """From 18 s on, the first pause of 160 ms ends the turn. The next one has its text in the prompt."""
    room = Room().speak(19).hush(0.2).speak(3).hush(1)
    assert len(room.of(TurnStarted)) == len(room.of(TurnCommitted)) == 2
    first, second = room.closed
    assert first.window is second.window.previous
    assert 18 < first.end / SAMPLE_RATE < 20


async def test_speech_without_a_pause_is_cut_before_a_window_is_full():
    """No window is longer than what the model takes, and no sample is lost between two."""
    room = Room().speak(100).hush(1)
    assert all(each.n_samples <= MAX_WINDOW_S * SAMPLE_RATE for each in room.closed)
    assert [each.window.start for each in room.closed[1:]] == [each.end for each in room.closed[:-1]]


async def test_manual_commits_make_turns_of_all_sound_since_the_last():
    """Silence does not end the turn, but its windows. The turn's only events are commits."""
    room = Room(MANUAL).speak(2).hush(2.5).speak(2)
    assert room.events == []
    assert room.listener.commit()
    assert [type(event) for event in room.events] == [TurnCommitted]
    assert [closing.is_last for closing in room.closed] == [False, True]
    assert room.closed[0].window.turn is room.closed[1].window.turn


async def test_a_commit_without_sound_is_refused():
    """At least 100 ms are needed since the last commit, and silence is sound."""
    room = Room(MANUAL)
    assert not room.listener.commit()
    room.hush(0.05)
    assert not room.listener.commit()
    room.hush(0.2)
    assert room.listener.commit()
    assert room.closed[0].chunk is None
    assert not room.listener.commit()


async def test_a_commit_ends_a_turn_that_speech_opened():
    """Speech that goes on opens the next turn."""
    room = Room().speak(2)
    assert room.listener.commit()
    assert [type(event) for event in room.events] == [TurnStarted, TurnStopped, TurnCommitted]
    room.speak(1)
    assert len(room.of(TurnStarted)) == 2


async def test_clearing_discards_the_open_turn():
    """It is not decoded, and what follows opens a new one."""
    room = Room().speak(2)
    room.listener.clear()
    room.hush(1)
    assert [type(event) for event in room.events] == [TurnStarted, Cleared]
    assert room.closed == []
    room.speak(1).hush(1)
    assert len(room.closed) == 1


async def test_idle_time_is_reported_once_until_somebody_speaks():
    """The time counts from the end of the last turn."""
    room = Room(LiveOptions(turn_detection=ServerVad(idle_timeout_ms=5000))).hush(12).speak(1).hush(12)
    assert [type(event) for event in room.events] == [
        IdleTimeout, TurnStarted, TurnStopped, TurnCommitted, IdleTimeout,
    ]  # fmt: skip


async def test_options_change_while_somebody_speaks():
    """The open turn keeps its decoding options; the detection of its end is the new one."""
    room = Room().speak(1)
    french = DecodingOptions(language="fr")
    room.listener.configure(LiveOptions(french, ServerVad(silence_duration_ms=2000)))
    room.hush(1)
    assert room.closed == []
    room.hush(1.1).speak(1).hush(2.1)
    assert [closing.window.turn.options.decoding.language for closing in room.closed] == [None, "fr"]


async def test_detection_can_be_switched_on_in_a_manual_turn():
    """The turn is announced, and silence ends it."""
    room = Room(MANUAL).speak(1)
    room.listener.configure(LiveOptions())
    room.hush(1)
    assert [type(event) for event in room.events] == [TurnStarted, TurnStopped, TurnCommitted]


async def test_the_threshold_of_the_session_decides_what_is_speech():
    """In the decoded chunk too."""
    room = Room(LiveOptions(replace(DecodingOptions()), ServerVad(threshold=0.3)))
    room._hear(2, 0.4).hush(1)
    assert room.closed[0].chunk is not None


async def test_an_hour_costs_what_a_minute_costs():
    """The time for each minute stays the same, and so does what is kept."""
    room, times, kept = Room(), [], []
    for _ in range(12):
        began = time.process_time()
        for _ in range(6):
            room.speak(4).hush(1)
        times.append(time.process_time() - began)
        kept.append(len(room.listener._sound._samples))
        room.closed.clear()
        room.events.clear()
    assert max(kept) <= 16 * SAMPLE_RATE
    assert min(times[-4:]) < 3 * max(times[:4])
