"""The result of a transcription. Times are seconds from the start of the recording."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """One word, its time, and the probability that the model gives it."""

    word: str
    """The text, with a leading space if the language writes one."""
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the transcript with a start and an end, usually a sentence or a clause."""

    id: int
    """Its position among the segments, from 0."""
    start: float
    end: float
    text: str
    """The text as it follows the segment before it: with a leading space if the language writes one."""
    tokens: tuple[int, ...]
    """Whisper's tokens, timestamp tokens included."""
    avg_logprob: float
    """Mean natural logarithm of the probabilities of the window's tokens."""
    no_speech_prob: float
    """Probability that the window holds no speech."""
    compression_ratio: float
    """How many times smaller zlib makes the window's text. A text that repeats itself has a high ratio."""
    temperature: float
    """Sampling temperature that gave this text; 0 is beam search."""
    language: str
    """Whisper's code of the language spoken."""
    words: tuple[Word, ...] | None = None
    """None if word times were not requested."""
    window_start: float = 0.0
    """Start of the window in which the segment was decoded."""
    speaker: str | None = None
    """Name of the speaker, which a person has given; None if it is not known."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the parts of a request took. They overlap, so they need not add up to the total."""

    queue_ms: float
    """The longest time that a window of the request waited for the model."""
    decode_ms: float
    """Decoding of the audio file."""
    vad_ms: float
    """Voice activity detection."""
    inference_ms: float
    """Time during which at least one call of the model for this request was running."""
    total_ms: float
    realtime_factor: float
    """The total divided by the duration of the recording; 0 for an empty recording."""


@dataclass(frozen=True, slots=True)
class Peaks:
    """The waveform of a recording, for players that draw it."""

    per_second: int
    values: bytes
    """The largest absolute sample of each interval, one byte each: 255 is full scale."""


@dataclass(frozen=True, slots=True)
class WarningDetail:
    """What a warning says, for programs: they can say it in another language."""

    code: str
    values: Mapping[str, int | float | str]
    """The numbers and names of the sentence. Names of seconds end with `_s`."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """The whole result of a transcription."""

    text: str
    task: str
    """`transcribe` or `translate`."""
    language: str | None
    """Whisper's code of the language spoken; None if the recording holds no speech to detect it from."""
    language_probability: float | None
    duration: float
    """Length of the recording."""
    duration_after_vad: float
    """Length of the speech that was decoded."""
    model: str
    segments: tuple[Segment, ...]
    warnings: tuple[str, ...]
    """Sentences about the recording: lost parts, several tracks, no speech."""
    timing: Timing
    language_name: str | None = None
    """English name of the language in lower case."""
    peaks: Peaks | None = None
    """None if they were not requested."""
    warning_details: tuple[WarningDetail, ...] = ()
    """One for each of `warnings`, in the same order. Empty if an earlier program made the transcript."""


@dataclass(frozen=True, slots=True)
class Detection:
    """The language of a recording, detected from its first window with speech."""

    probabilities: tuple[tuple[str, float], ...]
    """Probabilities by language code, most likely first; empty if the recording holds no speech."""
    start: float | None = None
    """Start of the window from which the language was detected."""
    end: float | None = None
    """End of that window."""
