"""Writes the names of speakers into a transcript, for formats that have no field for them."""

from dataclasses import replace

from asr_service.transcript import Segment, Transcript, Word


def with_speaker_names(transcript: Transcript) -> Transcript:
    """Return the transcript with `Name: ` before the first words of each speaker's turn."""
    segments: list[Segment] = []
    speaker: str | None = None
    for segment in transcript.segments:
        begins = segment.speaker is not None and segment.speaker != speaker
        speaker = segment.speaker
        segments.append(_named(segment, f"{speaker}:") if begins else segment)
    return replace(transcript, text="".join(each.text for each in segments).strip(), segments=tuple(segments))


def _named(segment: Segment, name: str) -> Segment:
    text = segment.text.lstrip()
    lead = " " if len(text) < len(segment.text) else ""
    words = segment.words and (Word(lead + name, segment.words[0].start, segment.words[0].start, 1.0), *segment.words)
    return replace(segment, text=f"{lead}{name} {text}", words=words)
