"""Transcripts into word error rates by set of clips, and these into a table."""

from dataclasses import dataclass

import numpy as np

from benchmarks.common.corpus import Clip
from benchmarks.common.scoring import Errors, count_errors
from benchmarks.wer.transcripts import Transcripts

ALL = "all speech"
_N_RESAMPLES = 5000
_N_SHOWN = 12
_FEWEST_DRAWN = 5
"""Of fewer clips an interval says nothing."""


@dataclass(frozen=True, slots=True)
class Row:
    """One set of clips, as each contestant did on it."""

    name: str
    n_clips: int
    seconds: float
    scores: dict[str, Errors]
    unanswered: dict[str, int]
    interval: str
    """Of the second contestant's rate less the first's; empty for a few clips, or one contestant."""


def score(clips: list[Clip], runs: dict[str, Transcripts]) -> list[Row]:
    """Score each set of clips with speech: the whole first, then the largest."""
    spoken = [clip for clip in clips if clip.reference]
    sets: dict[str, list[Clip]] = {}
    for clip in spoken:
        sets.setdefault(clip.set_name, []).append(clip)
    rows = [_row(name, members, runs) for name, members in sets.items()]
    return [_row(ALL, spoken, runs), *sorted(rows, key=lambda row: -row.n_clips)]


def clip_errors(clips: list[Clip], transcripts: Transcripts) -> dict[str, Errors]:
    """Count each clip's errors, by file name; no answer is an answer without words."""
    return {
        clip.path.name: count_errors(clip.reference, transcripts[clip.path.name] or "", clip.language or "en")
        for clip in clips
        if clip.reference
    }


def markdown(rows: list[Row], about: dict[str, str]) -> str:
    names = list(rows[0].scores)
    heads = ["set", "clips", "minutes", "words", *names] + (["difference", "95 % interval"] if len(names) > 1 else [])
    lines = [f"- {key}: {value}" for key, value in about.items()]
    lines += ["", "Word error rate in percent (characters for zh, ja).", ""]
    lines += [_cells(heads), _cells(["---"] * len(heads))]
    return "\n".join([*lines, *map(_line, rows)]) + "\n"


def interval(before: dict[str, Errors], after: dict[str, Errors]) -> str:
    """Say between what the difference of the rates lies, in points, 95 times of 100: clips drawn anew (bootstrap)."""
    n_words = np.array([errors.n_words for errors in before.values()])
    more = np.array([after[name].n_errors - errors.n_errors for name, errors in before.items()])
    drawn = np.random.default_rng(0).integers(len(n_words), size=(_N_RESAMPLES, len(n_words)))
    points = 100 * more[drawn].sum(axis=1) / n_words[drawn].sum(axis=1)
    low, high = np.quantile(points, [0.025, 0.975])
    return f"{low:+.2f} to {high:+.2f}"


def largest_differences(before: dict[str, Errors], after: dict[str, Errors]) -> str:
    """Make a table of the clips to look at first."""
    names = sorted(before, key=lambda name: -abs(after[name].n_errors - before[name].n_errors))[:_N_SHOWN]
    rows = [[name, *map(str, (before[name].n_words, before[name].n_errors, after[name].n_errors))] for name in names]
    return "\n".join(map(_cells, [["clip", "words", "errors before", "errors after"], ["---"] * 4, *rows])) + "\n"


def _row(name: str, clips: list[Clip], runs: dict[str, Transcripts]) -> Row:
    by_clip = {who: clip_errors(clips, texts) for who, texts in runs.items()}
    scores = {who: sum(errors.values(), Errors(0, 0)) for who, errors in by_clip.items()}
    unanswered = {who: sum(texts[clip.path.name] is None for clip in clips) for who, texts in runs.items()}
    between = interval(*list(by_clip.values())[:2]) if len(runs) > 1 and len(clips) >= _FEWEST_DRAWN else ""
    return Row(name, len(clips), sum(clip.seconds for clip in clips), scores, unanswered, between)


def _line(row: Row) -> str:
    scores = list(row.scores.values())
    cells = [row.name, str(row.n_clips), f"{row.seconds / 60:.1f}", str(scores[0].n_words)]
    cells += [_score(row, who) for who in row.scores]
    if len(scores) > 1:
        cells += [f"{100 * (scores[1].rate - scores[0].rate):+.2f}", row.interval]
    return _cells(cells)


def _score(row: Row, who: str) -> str:
    missing = f" ({row.unanswered[who]} unanswered)" if row.unanswered[who] else ""
    return f"{100 * row.scores[who].rate:.2f}{missing}"


def _cells(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
