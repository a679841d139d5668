"""The space before the first word of a segment."""

from dataclasses import replace

from asr_service.engine.options import Task
from asr_service.languages import UNSPACED_LANGUAGES, written_language
from asr_service.transcript import Segment


def with_leading_space(segment: Segment, task: Task) -> Segment:
    """Add the space before the first word, which Whisper now and then leaves out at the start of a window."""
    if written_language(segment.language or "", task) in UNSPACED_LANGUAGES or segment.text.startswith(" "):
        return segment
    words = segment.words and (replace(segment.words[0], word=" " + segment.words[0].word), *segment.words[1:])
    return replace(segment, text=" " + segment.text, words=words)
