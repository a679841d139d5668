"""Divides a transcript into cues, as a subtitle editor would. Pure functions.

`lay_out` finds the division with the lowest total cost, as TeX does for lines. Cues end with sentences and clauses, are
neither too short nor too fast to read, and no cue has a single word.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

from asr_service.formats.subtitles.clauses import break_costs, ends_sentence
from asr_service.formats.subtitles.line_breaks import break_lines
from asr_service.formats.subtitles.pieces import Piece, pieces_of
from asr_service.languages import written_language
from asr_service.transcript import Transcript

_GAP_S = 0.08
"""The gap between cues, two frames of film. It shows that the text has changed."""
_CHAIN_S = 0.5
"""A shorter gap than this flickers, so the cue stays until the next one."""
_PAUSE_S = 1.5
"""The longest pause within a cue."""

_CUE = 4.0
"""The cost of each cue."""
_TOO_SHORT = 12.0
"""The cost of a cue with no time at all; less for a cue that is shorter than the minimum."""
_TOO_FAST = 6.0
"""The cost of a cue at twice the reading speed."""
_ORPHAN = 5.0
"""The cost of a cue with one word that is not a sentence."""
_INNER_SENTENCE = 1.0
"""The cost of a sentence end within a cue."""
_INNER_PAUSE_PER_S = 4.0
"""The cost of a second of pause within a cue."""


@dataclass(frozen=True, slots=True)
class SubtitleStyle:
    """Limits for readers. Widths are in columns; a full-width character has two."""

    max_line_width: int = 42
    max_line_count: int = 2
    min_cue_s: float = 1.0
    max_cue_s: float = 7.0
    max_chars_per_second: float = 20.0
    highlight_words: bool = False
    """Give each word its time within the cue. Only WebVTT can."""


@dataclass(frozen=True, slots=True)
class Cue:
    """Lines of text with a start and an end time."""

    start_ms: int
    end_ms: int
    """After `start_ms`, and not after the start of the next cue."""
    lines: tuple[tuple[Piece, ...], ...]

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(joined(line) for line in self.lines)


def joined(line: Sequence[Piece]) -> str:
    return "".join(" " * (piece.spaced and at > 0) + piece.text for at, piece in enumerate(line))


def lay_out(transcript: Transcript, style: SubtitleStyle) -> list[Cue]:
    """Return the cues of the whole transcript, in order. No two overlap."""
    cues: list[tuple[Piece, ...]] = []
    lines: list[tuple[tuple[Piece, ...], ...]] = []
    for language, pieces in _runs(transcript):
        costs = [*break_costs(pieces, language), 0.0]
        for start, end in _divide(pieces, costs, style):
            cues.append(tuple(pieces[start:end]))
            broken = break_lines(pieces[start:end], costs[start : end - 1], style.max_line_width)
            lines.append(tuple(tuple(line) for line in broken))
    times = _times(cues, style, max(transcript.duration, cues[-1][-1].end) if cues else 0.0)
    return [Cue(*span, own) for span, own in zip(times, lines, strict=True)]


def _runs(transcript: Transcript) -> Iterator[tuple[str, list[Piece]]]:
    """Yield the pieces between long pauses, after the language of their text. No run has two speakers."""
    start_s = 0.0
    turns = groupby(transcript.segments, key=lambda segment: (segment.language, segment.speaker))
    for (language, _), segments in turns:
        written = written_language(language, transcript.task)
        run: list[Piece] = []
        for piece in pieces_of(segments, start_s):
            if run and piece.start - run[-1].end > _PAUSE_S:
                yield written, run
                run = []
            run.append(piece)
        if run:
            yield written, run
            start_s = run[-1].start


def _divide(pieces: Sequence[Piece], costs: Sequence[float], style: SubtitleStyle) -> list[tuple[int, int]]:
    """Divide a run into cues. Returns the index of each cue's first piece and the index after its last."""
    max_pieces = style.max_line_width * style.max_line_count  # pieces may have no width
    inner = [0.0, *accumulate(_inner_cost(at, pieces) for at in range(len(pieces)))]
    best: list[tuple[float, int]] = [(0.0, 0)] + [(float("inf"), 0)] * len(pieces)
    # A long transcript has millions of candidates, so the inner loop calls no functions.
    measured = [(piece.width, piece.width + piece.spaced, piece.end) for piece in pieces]
    after_s = [*(piece.start - _GAP_S for piece in pieces[1:]), pieces[-1].end + style.min_cue_s]
    max_width, max_lines, max_s = style.max_line_width, style.max_line_count, style.max_cue_s
    min_s, per_s = style.min_cue_s, style.max_chars_per_second
    for start, first in enumerate(pieces):
        n_lines = used = width = 0
        start_s, before = first.start, best[start][0] + _CUE
        for end in range(start + 1, len(pieces) + 1):
            own, joined_width, end_s = measured[end - 1]
            width += joined_width
            if n_lines and used + joined_width <= max_width:
                used += joined_width
            else:
                n_lines += 1
                used = own
            if end - start > 1 and (n_lines > max_lines or end - start > max_pieces or end_s - start_s > max_s):
                break
            shown_s = min(after_s[end - 1] - start_s, max_s)
            total = before + costs[end - 1] + (inner[end - 1] - inner[start])
            if shown_s < min_s:
                total += _TOO_SHORT * ((min_s - shown_s) / max(min_s, 0.001))
            hurry = width / per_s / max(shown_s, 0.1) - 1
            if hurry > 0:
                total += _TOO_FAST * min(hurry, 2.0)
            if end - start == 1 and _is_orphan(pieces, start):
                total += _ORPHAN
            if total < best[end][0]:
                best[end] = (total, start)
    return _trace(best)


def _trace(best: Sequence[tuple[float, int]]) -> list[tuple[int, int]]:
    cues, end = [], len(best) - 1
    while end:
        cues.append((best[end][1], end))
        end = best[end][1]
    return cues[::-1]


def _inner_cost(at: int, pieces: Sequence[Piece]) -> float:
    """Return the cost of a cue that continues after this piece."""
    if at + 1 == len(pieces):
        return 0.0
    pause_s = max(pieces[at + 1].start - pieces[at].end, 0.0)
    return _INNER_SENTENCE * ends_sentence(pieces[at].text) + _INNER_PAUSE_PER_S * pause_s


def _is_orphan(pieces: Sequence[Piece], at: int) -> bool:
    """Return True if this single piece is not a sentence of its own."""
    begins = at == 0 or ends_sentence(pieces[at - 1].text)
    return not (begins and (at + 1 == len(pieces) or ends_sentence(pieces[at].text)))


def _times(cues: Sequence[tuple[Piece, ...]], style: SubtitleStyle, until_s: float) -> list[tuple[int, int]]:
    """Return the start and end of each cue, in ms. A cue lasts as long as it is spoken and read, if there is room."""
    times: list[tuple[int, int]] = []
    earliest_ms = 0
    for at, cue in enumerate(cues):
        start_ms = max(round(cue[0].start * 1000), earliest_ms)
        next_s = cues[at + 1][0].start if at + 1 < len(cues) else None
        end_ms = max(round(_end(cue, start_ms / 1000, style, next_s, until_s) * 1000), start_ms + 1)
        times.append((start_ms, end_ms))
        earliest_ms = end_ms
    return times


def _end(cue: tuple[Piece, ...], start: float, style: SubtitleStyle, next_s: float | None, until_s: float) -> float:
    spoken_until = max(piece.end for piece in cue)
    width = sum(piece.width + piece.spaced for piece in cue)
    wanted = max(spoken_until, start + style.min_cue_s, start + width / style.max_chars_per_second)
    if next_s is None:
        return min(wanted, start + style.max_cue_s, until_s)
    room = next_s - _GAP_S if next_s - _GAP_S > start else next_s
    if wanted > room - _CHAIN_S:
        wanted = room
    return min(wanted, start + style.max_cue_s)
