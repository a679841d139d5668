"""Makes the segments of a decoded window, with their times and words in the recording."""

import math
from collections.abc import Sequence

from asr_service.audio.features import FRAMES_PER_SECOND, FULL_CONTEXT
from asr_service.engine.decode.hypothesis import Hypothesis
from asr_service.engine.decode.segments import TimedTokens
from asr_service.engine.decode.timing.times import place_words
from asr_service.engine.decode.timing.words import time_words
from asr_service.engine.decode.window_task import WindowTask
from asr_service.engine.model.calls import AlignCall
from asr_service.engine.model.protocol import Alignment, Encoding
from asr_service.engine.model.vocabulary import Vocabulary
from asr_service.languages import written_language
from asr_service.transcript import Segment, Word


async def timed_segments(
    task: WindowTask,
    encoding: Encoding,
    best: Hypothesis,
    parts: list[TimedTokens],
    language: str,
    vocabulary: Vocabulary,
) -> list[Segment]:
    """Return a segment for each of the `parts` of a window's text. Their ids are not set.

    `encoding` is that of the hypothesis. If the request wants words, they are aligned with it by a call of the model.

    Raises EngineStopped, DeadlineExceeded, InferenceFailed, Overloaded: the scheduler or the model failed.
    """
    options, chunk = task.request.options, task.chunk
    words: Sequence[tuple[Word, ...] | None] = [None] * len(parts)
    if options.word_timestamps:
        words = await _words(task, encoding, parts, language, vocabulary)
    quiet_s = options.vad.speech_pad_ms / 1000 if options.vad_filter else 0.0
    times = [
        (own[0].start, own[-1].end) if own else chunk.to_source_span(part.start, part.end, quiet_s)
        for part, own in zip(parts, words, strict=True)
    ]
    return [
        Segment(
            id=0,
            start=start,
            end=end,
            text=vocabulary.text(part.tokens),
            tokens=part.tokens,
            avg_logprob=best.generation.avg_logprob,
            no_speech_prob=best.generation.no_speech_prob,
            compression_ratio=best.compression_ratio,
            temperature=best.temperature,
            language=language,
            words=own,
            window_start=chunk.to_source_time(0),
        )
        for part, own, (start, end) in zip(parts, words, times, strict=True)
    ]


async def _words(
    task: WindowTask, encoding: Encoding, parts: list[TimedTokens], language: str, vocabulary: Vocabulary
) -> list[tuple[Word, ...]]:
    task_name = task.request.options.task
    start_sequence = vocabulary.tokenizer_for(language, task_name).sot_sequence
    tokenizer = vocabulary.tokenizer_for(written_language(language, task_name), task_name)
    texts = [vocabulary.text_tokens(part.tokens) for part in parts]
    tokens = tuple(token for text in texts for token in text)
    if not tokens:
        return [() for _ in parts]
    n_frames = min(math.ceil(task.chunk.duration_s * FRAMES_PER_SECOND), FULL_CONTEXT)
    alignment: Alignment = await task.submit(AlignCall(encoding, tuple(start_sequence), tokens, n_frames))
    spans = [(part.start, part.end) for part in parts]
    words_of_parts = time_words(alignment, texts, tokenizer, spans, task.chunk.samples)
    return [place_words(words, task.chunk) for words in words_of_parts]
