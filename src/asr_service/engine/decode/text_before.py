"""The text of earlier windows, for the prompts of later windows, within a section or a recording."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from asr_service.engine.decode.hypothesis import MAX_COMPRESSION_RATIO, MIN_AVG_LOGPROB
from asr_service.transcript import Segment

_MAX_TOKENS: Final = 96
"""About 28 s of speech. Longer text gains no accuracy, and each of its tokens makes each step of the decoder slower
(docs/performance.md)."""


@dataclass(frozen=True, slots=True)
class TextBefore:
    """The last tokens of the text before a window, timestamp tokens included, and their language."""

    tokens: tuple[int, ...] = ()
    language: str = ""

    def followed_by(self, segments: Iterable[Segment]) -> "TextBefore":
        """Return the text before the next window.

        An error in a prompt may repeat itself through the whole recording. So doubtful text is not used, and neither is
        the text before it: the prompt begins again after it.
        """
        tokens, language = self.tokens, self.language
        for segment in segments:
            is_sure = (
                segment.temperature == 0
                and segment.avg_logprob >= MIN_AVG_LOGPROB
                and segment.compression_ratio <= MAX_COMPRESSION_RATIO
            )
            kept = tokens if segment.language == language else ()
            tokens, language = (*kept, *segment.tokens)[-_MAX_TOKENS:] if is_sure else (), segment.language
        return TextBefore(tokens, language)


class PreviousText:
    """Follows the windows of one recording, in their order. Belongs to one event loop."""

    def __init__(self, earlier: Iterable[Segment] = ()) -> None:
        """Begin after `earlier`, the segments that are already known."""
        self.before_next: asyncio.Future[TextBefore] = asyncio.get_running_loop().create_future()
        """The text before the next window. It is known when the windows before that are decoded."""
        self.before_next.set_result(TextBefore().followed_by(earlier))

    def follow(self, decoding: AsyncGenerator[list[Segment]]) -> AsyncGenerator[list[Segment]]:
        """Return the decoding of the next window. Its text becomes part of `before_next` when it has been read."""
        before, self.before_next = self.before_next, asyncio.get_running_loop().create_future()
        return _noted(decoding, before, self.before_next)


async def _noted(
    decoding: AsyncGenerator[list[Segment]], before: asyncio.Future[TextBefore], after: asyncio.Future[TextBefore]
) -> AsyncGenerator[list[Segment]]:
    segments: list[Segment] = []
    try:
        async with aclosing(decoding):
            async for known in decoding:
                segments += known
                yield known
        after.set_result((await asyncio.shield(before)).followed_by(segments))
    finally:
        after.cancel()  # has no effect on a future that has its result
