"""What the events of a session show: delays, errors, and text that was taken back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Final

from asr_service.engine.pipeline.live.agreement import plain
from asr_service.engine.pipeline.live.events import TextDelta, TurnCompleted, TurnStarted, TurnStopped
from asr_service.transcript import Word
from benchmarks.common.scoring import Errors, count_errors
from benchmarks.live.material import Placed, Playlist
from benchmarks.live.player import Heard, sent_at_s

_FRAME_MS: Final = 32


@dataclass
class Turn:
    """What a session sent about one turn. Times are seconds of the sound; `_at_s` are those of the player."""

    start_s: float = 0.0
    end_s: float = 0.0
    text: str = ""
    completed_at_s: float = 0.0
    deltas: list[tuple[float, str]] = field(default_factory=list)
    """When each came, and its text, up to the end of the turn's sound."""
    is_open: bool = True


@dataclass
class Measured:
    """The figures of some sessions that were open at the same time."""

    final_delays_s: list[float] = field(default_factory=list)
    """From the end of speech to `TurnCompleted`."""
    word_delays_s: list[float] = field(default_factory=list)
    """From the end of a word to the delta that has it; for the words that came while the turn was open."""
    n_sent: int = 0
    """Words in deltas that came while the turn was open."""
    n_taken_back: int = 0
    """Those that the final text does not have."""
    errors: Errors = field(default_factory=lambda: Errors(0, 0))
    file_errors: Errors = field(default_factory=lambda: Errors(0, 0))
    """Of the same sound, transcribed as a recording."""
    n_turns: int = 0


def turns_of(heard: Sequence[Heard]) -> list[Turn]:
    """Return the turns of a session, in order."""
    turns: dict[str, Turn] = {}
    for each in heard:
        event = each.event
        if isinstance(event, TurnStarted):
            turns[event.turn_id] = Turn(start_s=event.audio_start_ms / 1000)
        elif isinstance(event, TurnStopped):
            turns[event.turn_id].end_s = event.audio_end_ms / 1000
            turns[event.turn_id].is_open = False
        elif isinstance(event, TextDelta) and turns[event.turn_id].is_open:
            turns[event.turn_id].deltas.append((each.at_s, event.text))
        elif isinstance(event, TurnCompleted):
            turns[event.turn_id].text = event.transcript.text
            turns[event.turn_id].completed_at_s = each.at_s
    return list(turns.values())


def add_session(
    measured: Measured,
    played: Playlist,
    heard: Sequence[Heard],
    file_text: str,
    clip_words: Mapping[Path, Sequence[Word]],
    silence_ms: int,
    language: str,
) -> None:
    """Add what one session shows.

    `file_text` is that of the same sound, transcribed as a recording. `clip_words` are those of the clips alone.
    """
    silence_s = round(silence_ms / _FRAME_MS) * _FRAME_MS / 1000
    turns = turns_of(heard)
    for turn in turns:
        measured.n_turns += 1
        measured.final_delays_s.append(turn.completed_at_s - sent_at_s(turn.end_s - silence_s))
        sent = [plain(word) for _, text in turn.deltas for word in text.split()]
        measured.n_sent += len(sent)
        measured.n_taken_back += len(sent) - _n_common(sent, [plain(word) for word in turn.text.split()])
    for placed in played.clips:
        own = [turn for turn in turns if turn.start_s < placed.end_s and turn.end_s > placed.start_s]
        measured.word_delays_s += _word_delays_s(placed, own, clip_words[placed.clip.path])
    reference = " ".join(placed.clip.reference for placed in played.clips)
    measured.errors += count_errors(reference, " ".join(turn.text for turn in turns), language)
    measured.file_errors += count_errors(reference, file_text, language)


def _n_common(one: Sequence[str], other: Sequence[str]) -> int:
    return sum(block.size for block in SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks())


def _word_delays_s(placed: Placed, turns: Sequence[Turn], words: Sequence[Word]) -> list[float]:
    sent = [(at_s, plain(word)) for turn in turns for at_s, text in turn.deltas for word in text.split()]
    spoken = [plain(word.word) for word in words]
    matcher = SequenceMatcher(None, [word for _, word in sent], spoken, autojunk=False)
    return [
        sent[block.a + at][0] - sent_at_s(placed.start_s + words[block.b + at].end)
        for block in matcher.get_matching_blocks()
        for at in range(block.size)
    ]
