"""What the engine says of a recording. Times are seconds from the recording's start."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    word: str
    """As spoken, with the space before it where the language writes one."""
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True)
class Segment:
    id: int
    start: float
    end: float
    text: str
    """As it follows the text before: with a space ahead where the language writes one."""
    tokens: tuple[int, ...]
    """Whisper's tokens, timestamps included."""
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    temperature: float
    language: str
    words: tuple[Word, ...] | None = None
    """None where no word times were asked for."""
    window_start: float = 0.0
    """Where the window begins that it was decoded in."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Where a request's time went. Stages overlap, so they need not add up to the total."""

    queue_ms: float
    """Waiting for the model, the longest wait of any chunk."""
    decode_ms: float
    vad_ms: float
    inference_ms: float
    """From the first chunk entering the model to the last one leaving it, waits left out."""
    total_ms: float
    realtime_factor: float
    """Total over the recording's duration; 0 for an empty recording."""


@dataclass(frozen=True, slots=True)
class Transcript:
    text: str
    task: str
    """`transcribe` or `translate`."""
    language: str | None
    """The code of the language spoken; None where no speech was found to tell it by."""
    language_probability: float | None
    duration: float
    duration_after_vad: float
    model: str
    segments: tuple[Segment, ...]
    warnings: tuple[str, ...]
    timing: Timing
    language_name: str | None = None
    """The language's English name in lower case."""


@dataclass(frozen=True, slots=True)
class Detection:
    """The language of a recording's first speech."""

    probabilities: tuple[tuple[str, float], ...]
    """By code, most likely first; empty where no speech was found."""
    start: float | None = None
    """The window that it was told by, in the recording's time."""
    end: float | None = None
