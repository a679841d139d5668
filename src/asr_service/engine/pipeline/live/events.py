"""The events of a live session. Times are milliseconds of the session's audio, from its first sample."""

from dataclasses import dataclass
from enum import StrEnum

from asr_service.errors import AsrError
from asr_service.transcript import Transcript


class EndReason(StrEnum):
    """Why a session ended."""

    FINISHED = "finished"
    """The client asked for it."""
    DRAINING = "draining"
    """The slot stops or reloads. The client may continue at another slot."""
    SILENT = "silent"
    """No audio came for so long that the session gave up its place."""
    YIELDED = "yielded"
    """Its caller had more sessions than another caller, which needed the place."""
    FAILED = "failed"
    """The engine stopped. `SessionEnded.error` has its error."""


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """Speech began. Sent by voice activity detection only: manual commits have no `TurnStarted` and `TurnStopped`."""

    turn_id: str
    audio_start_ms: int
    """Includes the prefix padding."""


@dataclass(frozen=True, slots=True)
class TurnStopped:
    """Speech ended, or the turn became too long and continues in the next one."""

    turn_id: str
    audio_end_ms: int
    """The end of the audio that the turn has, silence included."""


@dataclass(frozen=True, slots=True)
class TurnCommitted:
    """The turn has all its audio. Exactly one TurnCompleted or TurnFailed of the turn follows."""

    turn_id: str
    previous_turn_id: str | None
    """The turn that was committed before; None for the first one."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More text of a turn. Joined, the deltas of a turn are its text so far. They may come before TurnCommitted.

    With manual commits, they may also come before the session has sent any other event of the turn.
    """

    turn_id: str
    text: str


@dataclass(frozen=True, slots=True)
class TurnCompleted:
    """The final text of a turn. It may differ from the deltas. Turns are completed in the order of their commits."""

    turn_id: str
    transcript: Transcript
    """Times are seconds of the session's audio; `duration` is that of the turn alone."""
    audio_s: float
    """Seconds of audio of the turn, from its start to its end, silence included."""


@dataclass(frozen=True, slots=True)
class TurnFailed:
    """The turn has no final text. The session continues."""

    turn_id: str
    error: AsrError


@dataclass(frozen=True, slots=True)
class Cleared:
    """The audio that was not committed was discarded, and with it the open turn: it gets no further events."""


@dataclass(frozen=True, slots=True)
class IdleTimeout:
    """There was no speech for `ServerVad.idle_timeout_ms`. The event is sent again only after further speech."""

    turn_id: str
    """A new id; there is no other event with it."""
    audio_start_ms: int
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The last event of a session. All turns were completed before it, unless the reason is `FAILED`."""

    reason: EndReason
    error: AsrError | None = None


LiveEvent = (
    TurnStarted
    | TurnStopped
    | TurnCommitted
    | TextDelta
    | TurnCompleted
    | TurnFailed
    | Cleared
    | IdleTimeout
    | SessionEnded
)
