"""The options of a live session. The engine knows nothing of the protocol that they come from."""

from dataclasses import dataclass, field
from enum import StrEnum

from asr_service.engine.options import DecodingOptions


class Delay(StrEnum):
    """How long text is held back until it is certain. Shorter delays contradict the final text more often."""

    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"


@dataclass(frozen=True, slots=True)
class ServerVad:
    """Turns begin and end where voice activity detection finds speech and silence."""

    threshold: float = 0.5
    """Minimum probability of speech, from 0 to 1."""
    prefix_padding_ms: int = 300
    """Audio before the first speech that belongs to the turn."""
    silence_duration_ms: int = 500
    """Silence that ends the turn."""
    idle_timeout_ms: int | None = None
    """Audio without speech after which the session reports `IdleTimeout`; None for never."""


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """The options of a live session. A change applies to the turns that begin after it."""

    decoding: DecodingOptions = field(default_factory=DecodingOptions)
    """Complete and checked against the model (`engine.resolve_options`): language or candidates, prompt, keywords (its
    `hotwords`), and `word_timestamps` if words or their probabilities are wanted. Without a language, it is detected in
    each turn."""
    turn_detection: ServerVad | None = field(default_factory=ServerVad)
    """None: turns end only when the client commits them."""
    delay: Delay = Delay.MEDIUM
