"""The events of a transcription: its Segments, as they become known, and then its Transcript."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from asr_service.transcript.types import Segment, Transcript

Events = AsyncGenerator[Segment | Transcript]


async def final_transcript(events: Events, on_segment: Callable[[Segment], object] = lambda _: None) -> Transcript:
    """Consume the events, close them and return the Transcript. Calls `on_segment` for each Segment."""
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Transcript):
                return event
            on_segment(event)
    raise AssertionError("the last event is a Transcript")
