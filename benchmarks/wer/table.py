"""Word error rates by set of clips, and their Markdown table."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from benchmarks.common.corpus import Clip
from benchmarks.common.report import facts, table
from benchmarks.common.scoring import Errors, count_errors
from benchmarks.wer.transcripts import Transcripts

ALL = "all speech"
_N_RESAMPLES = 5000
_N_SHOWN = 12
_MIN_CLIPS_FOR_INTERVAL = 5
_SHORT_S, _LONG_S = 6, 12


@dataclass(frozen=True, slots=True)
class Row:
    """One set of clips with the scores of every system."""

    name: str
    n_clips: int
    seconds: float
    scores: dict[str, Errors]
    unanswered: dict[str, int]
    interval: str
    """Of the second system's rate minus the first's. Empty for few clips or a single system."""


def score(clips: list[Clip], runs: dict[str, Transcripts]) -> list[Row]:
    """Score each set of clips with speech: all of them first, then the sets by their number of clips."""
    spoken = [clip for clip in clips if clip.reference]
    sets: dict[str, list[Clip]] = {}
    for clip in spoken:
        sets.setdefault(clip.set_name, []).append(clip)
    rows = [_row(name, members, runs) for name, members in sets.items()]
    return [_row(ALL, spoken, runs), *sorted(rows, key=lambda row: -row.n_clips)]


def score_groups(clips: list[Clip], runs: dict[str, Transcripts]) -> list[Row]:
    """Score the clips with speech by half, language and length. A clip is in several groups."""
    groups: dict[str, list[Clip]] = {}
    for clip in clips:
        for name in _groups(clip) if clip.reference else ():
            groups.setdefault(name, []).append(clip)
    return [_row(name, groups[name], runs) for name in sorted(groups)]


def without_wrong_texts(clips: Iterable[Clip], runs: dict[str, Transcripts], max_rate: float) -> list[Clip]:
    """Leave out clips of which every system gets more than `max_rate` wrong.

    If the texts of a set were not checked, such a text often differs from the speech.
    """
    by_system = [clip_errors(list(clips), texts) for texts in runs.values()]
    return [
        clip
        for clip in clips
        if not clip.reference or any(errors[clip.path.name].rate <= max_rate for errors in by_system)
    ]


def _groups(clip: Clip) -> tuple[str, ...]:
    """Return a half, which the file's name decides, a group of languages and one of lengths."""
    half = "first half" if hashlib.sha256(f"half {clip.path.name}".encode()).digest()[0] % 2 else "second half"
    short = f"under {_SHORT_S} s" if clip.seconds < _SHORT_S else f"{_SHORT_S} to {_LONG_S} s"
    length = f"{_LONG_S} s and longer" if clip.seconds >= _LONG_S else short
    return half, "English" if clip.language == "en" else "other languages", length


def clip_errors(clips: list[Clip], transcripts: Transcripts) -> dict[str, Errors]:
    """Count each clip's errors, by file name. A missing transcript counts as one without words."""
    return {
        clip.path.name: count_errors(clip.reference, transcripts[clip.path.name] or "", clip.language or "en")
        for clip in clips
        if clip.reference
    }


def markdown(rows: list[Row], about: dict[str, str]) -> str:
    note = "Word error rate in percent (characters for zh, ja)."
    return "\n\n".join([facts(about), note, table_of(rows)])


def table_of(rows: list[Row]) -> str:
    """Format a table of the rates, with differences if there are two systems."""
    names = list(rows[0].scores)
    heads = ["set", "clips", "minutes", "words", *names] + (["difference", "95 % interval"] if len(names) > 1 else [])
    return table(heads, map(_cells, rows)) + "\n"


def interval(before: dict[str, Errors], after: dict[str, Errors]) -> str:
    """Return the 95 % bootstrap interval over clips of the difference of the rates, in percentage points."""
    n_words = np.array([errors.n_words for errors in before.values()])
    more = np.array([after[name].n_errors - errors.n_errors for name, errors in before.items()])
    drawn = np.random.default_rng(0).integers(len(n_words), size=(_N_RESAMPLES, len(n_words)))
    points = 100 * more[drawn].sum(axis=1) / n_words[drawn].sum(axis=1)
    low, high = np.quantile(points, [0.025, 0.975])
    return f"{low:+.2f} to {high:+.2f}"


def largest_differences(before: dict[str, Errors], after: dict[str, Errors]) -> str:
    """Format a table of the clips whose number of errors differs most."""
    names = sorted(before, key=lambda name: -abs(after[name].n_errors - before[name].n_errors))[:_N_SHOWN]
    rows = [[name, *map(str, (before[name].n_words, before[name].n_errors, after[name].n_errors))] for name in names]
    return table(["clip", "words", "errors before", "errors after"], rows) + "\n"


def _row(name: str, clips: list[Clip], runs: dict[str, Transcripts]) -> Row:
    by_clip = {system: clip_errors(clips, texts) for system, texts in runs.items()}
    scores = {system: sum(errors.values(), Errors(0, 0)) for system, errors in by_clip.items()}
    unanswered = {system: sum(texts[clip.path.name] is None for clip in clips) for system, texts in runs.items()}
    enough = len(runs) > 1 and len(clips) >= _MIN_CLIPS_FOR_INTERVAL
    between = interval(*list(by_clip.values())[:2]) if enough else ""
    return Row(name, len(clips), sum(clip.seconds for clip in clips), scores, unanswered, between)


def _cells(row: Row) -> list[str]:
    scores = list(row.scores.values())
    cells = [row.name, str(row.n_clips), f"{row.seconds / 60:.1f}", str(scores[0].n_words)]
    cells += [_score(row, system) for system in row.scores]
    if len(scores) > 1:
        cells += [f"{100 * (scores[1].rate - scores[0].rate):+.2f}", row.interval]
    return cells


def _score(row: Row, system: str) -> str:
    missing = f" ({row.unanswered[system]} unanswered)" if row.unanswered[system] else ""
    return f"{100 * row.scores[system].rate:.2f}{missing}"
