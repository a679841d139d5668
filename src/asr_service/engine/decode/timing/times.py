"""Times of words and segments in the recording. Pure functions."""

from dataclasses import replace

from asr_service.audio.chunking import Chunk
from asr_service.transcript import Segment, Word


def place_words(words: tuple[Word, ...], chunk: Chunk) -> tuple[Word, ...]:
    """Convert words from window time to the time of the recording."""
    times = (chunk.word_to_source(word.start, word.end) for word in words)
    return tuple(replace(word, start=start, end=end) for word, (start, end) in zip(words, times, strict=True))


def clamp_times(segment: Segment, end_s: float) -> Segment:
    """Move all times of a segment to `end_s` at most.

    Words were timed with the sound of the whole window, so that some may lie in the rest, which is decoded again.
    """
    words = segment.words and tuple(
        replace(word, start=min(word.start, end_s), end=min(word.end, end_s)) for word in segment.words
    )
    return replace(segment, start=min(segment.start, end_s), end=min(segment.end, end_s), words=words)
