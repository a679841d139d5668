"""Subtitles as an editor would lay them out: what is said, divided into cues that can be read in their time.

`lay_out` looks for the division into cues that costs least in all (as TeX does with lines): cues end where sentences
and clauses do, are neither too short nor too fast to read, and none is a word by itself. Pure functions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

from asr_service.formats.subtitles.clauses import break_costs, ends_sentence
from asr_service.formats.subtitles.line_breaks import Fill, break_lines
from asr_service.formats.subtitles.pieces import Piece, pieces_of
from asr_service.transcript import Transcript

_GAP_S = 0.08
"""Two frames of film: what tells the eye that the text has changed."""
_CHAIN_S = 0.5
"""A shorter gap than this flickers: the cue stays until the next."""
_PAUSE_S = 1.5
"""No cue spans a longer pause."""

_CUE = 4.0
_TOO_SHORT = 12.0
_TOO_FAST = 6.0
_ORPHAN = 5.0
_INNER_SENTENCE = 1.0
_INNER_PAUSE_A_SECOND = 4.0


@dataclass(frozen=True, slots=True)
class SubtitleStyle:
    """What readers can take. Widths are in columns: a full-width character has two."""

    max_line_width: int = 42
    max_line_count: int = 2
    min_cue_s: float = 1.0
    max_cue_s: float = 7.0
    max_chars_per_second: float = 20.0
    highlight_words: bool = False
    """Give each word its time within the cue, where the format can."""


@dataclass(frozen=True, slots=True)
class Cue:
    start_ms: int
    end_ms: int
    """After `start_ms`, and not after the next cue's."""
    lines: tuple[tuple[Piece, ...], ...]

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(joined(line) for line in self.lines)


def joined(line: Sequence[Piece]) -> str:
    return "".join(" " * (piece.spaced and at > 0) + piece.text for at, piece in enumerate(line))


def lay_out(transcript: Transcript, style: SubtitleStyle) -> list[Cue]:
    """Every word of the transcript in cues, in order, none over another."""
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
    """Pieces between pauses that no cue spans, and the language they are written in."""
    start_s = 0.0
    for language, segments in groupby(transcript.segments, key=lambda segment: segment.language):
        written = "en" if transcript.task == "translate" else language
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
    """The cues of a run, each from its first piece up to, not including, its end."""
    widths = [piece.width for piece in pieces]
    inner = [0.0, *accumulate(_inner_cost(at, pieces) for at in range(len(pieces)))]
    best: list[tuple[float, int]] = [(0.0, 0)] + [(float("inf"), 0)] * len(pieces)
    for start, first in enumerate(pieces):
        fill, width = Fill(style.max_line_width), 0
        for end in range(start + 1, len(pieces) + 1):
            last = pieces[end - 1]
            width += widths[end - 1] + last.spaced
            n_lines = fill.add(last, widths[end - 1])
            if end - start > 1 and (n_lines > style.max_line_count or last.end - first.start > style.max_cue_s):
                break
            shown_s = _room(pieces, start, end, style)
            total = (
                best[start][0]
                + _CUE
                + costs[end - 1]
                + (inner[end - 1] - inner[start])
                + _reading_cost(width, shown_s, style)
                + _ORPHAN * (end - start == 1 and _is_orphan(pieces, start))
            )
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
    """What it costs that a cue goes on after this piece."""
    if at + 1 == len(pieces):
        return 0.0
    pause_s = max(pieces[at + 1].start - pieces[at].end, 0.0)
    return _INNER_SENTENCE * ends_sentence(pieces[at]) + _INNER_PAUSE_A_SECOND * pause_s


def _is_orphan(pieces: Sequence[Piece], at: int) -> bool:
    """A word by itself, and no sentence by itself."""
    begins = at == 0 or ends_sentence(pieces[at - 1])
    return not (begins and (at + 1 == len(pieces) or ends_sentence(pieces[at])))


def _room(pieces: Sequence[Piece], start: int, end: int, style: SubtitleStyle) -> float:
    """Seconds that a cue can be shown for."""
    until = pieces[end].start - _GAP_S if end < len(pieces) else pieces[end - 1].end + style.min_cue_s
    return min(until - pieces[start].start, style.max_cue_s)


def _reading_cost(width: int, shown_s: float, style: SubtitleStyle) -> float:
    short = max(style.min_cue_s - shown_s, 0.0) / max(style.min_cue_s, 0.001)
    hurry = width / style.max_chars_per_second / max(shown_s, 0.1) - 1
    return _TOO_SHORT * short + _TOO_FAST * min(max(hurry, 0.0), 2.0)


def _times(cues: Sequence[tuple[Piece, ...]], style: SubtitleStyle, until_s: float) -> list[tuple[int, int]]:
    """Start and end of each cue in milliseconds: as long as it is spoken and takes to read, where the room is there."""
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
