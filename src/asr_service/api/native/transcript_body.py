"""The request body of /format: a transcript in the service's own JSON, as it was or edited.

The check of a list ends at its first error: the errors of a million invalid segments would take gigabytes.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from asr_service.formats.subtitles.pieces import are_spaced
from asr_service.transcript import Segment, Timing, Transcript, Word

_Time = Annotated[float, Field(ge=0, le=1_000_000)]

_UNKNOWN_TIMING = Timing(0, 0, 0, 0, 0, 0)


class WordBody(BaseModel):
    model_config = ConfigDict(strict=True, use_attribute_docstrings=True)

    word: str
    """The text, with a leading space if the language writes one."""
    start: _Time
    end: _Time


class SegmentBody(BaseModel):
    model_config = ConfigDict(strict=True, use_attribute_docstrings=True)

    start: _Time
    end: _Time
    text: str
    """A space is added before it where the script needs one and the transcript has none."""
    language: str | None = None
    """Code of its language, which decides where lines break. By default the language of the transcript."""
    speaker: Annotated[str, Field(max_length=200)] | None = None
    """Name of the speaker. It is written before the first words of each turn."""
    words: Annotated[list[WordBody], Field(fail_fast=True)] | None = None
    """Used if together they are the text. Without them each word gets a share of the segment's time."""


class TranscriptBody(BaseModel):
    """A transcript as /transcribe returns it with `response_format=json`. Only `segments` is required.

    Other fields of that answer are accepted without effect.
    """

    model_config = ConfigDict(strict=True, use_attribute_docstrings=True)

    segments: Annotated[list[SegmentBody], Field(fail_fast=True)]
    """The parts of the transcript, in order."""
    task: Literal["transcribe", "translate"] = "transcribe"
    """`translate` says that the text is English, whatever language was spoken."""
    language: str | None = None
    """Code of the language spoken."""
    duration: _Time = 0.0
    """Length of the recording in seconds, at which the last subtitle ends."""

    def to_transcript(self) -> Transcript:
        """Return the transcript. What the body does not have is empty or 0."""
        spoken = [body for body in self.segments if body.text.strip()]
        segments = tuple(_spaced(_segment(position, body, self.language) for position, body in enumerate(spoken)))
        return Transcript(
            text="".join(segment.text for segment in segments).strip(),
            task=self.task,
            language=self.language,
            language_probability=None,
            duration=max([self.duration, *(segment.end for segment in segments)]),
            duration_after_vad=0.0,
            model="",
            segments=segments,
            warnings=(),
            timing=_UNKNOWN_TIMING,
        )


def _spaced(segments: Iterator[Segment]) -> Iterator[Segment]:
    """Add the space between two segments that an editor or another program has removed."""
    before = " "
    for segment in segments:
        yield replace(segment, text=f" {segment.text}") if are_spaced(before, segment.text) else segment
        before = segment.text


def _segment(position: int, body: SegmentBody, language: str | None) -> Segment:
    return Segment(
        id=position,
        start=body.start,
        end=max(body.start, body.end),
        text=body.text,
        tokens=(),
        avg_logprob=0.0,
        no_speech_prob=0.0,
        compression_ratio=0.0,
        temperature=0.0,
        language=body.language or language or "",
        words=None if body.words is None else tuple(map(_word, body.words)),
        speaker=(body.speaker or "").strip() or None,
    )


def _word(body: WordBody) -> Word:
    return Word(body.word, body.start, max(body.start, body.end), 1.0)
