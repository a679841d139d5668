"""Choose which waiting entries share the next call of the model. Pure functions: no threads, no clock, no model."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from asr_service.access.caller import UNKNOWN_CALLER, Caller
from asr_service.engine.model.stages import Stage

MAX_FAIRNESS_PENALTY_S: Final = 30.0
_AUDIO_S_PER_PENALTY_S: Final = 6.0
BULK_PENALTY_S: Final = 60.0
"""By how many seconds newer windows of other requests may overtake a window of a bulk request. No longer, so that bulk
requests also advance while others never stop."""
_ALL_EQUAL: Final[Mapping[Caller, int]] = {}


class LiveWork(IntEnum):
    """Work of a live session: somebody speaks and waits for the text. The lower value goes first."""

    FINAL = 0
    """The final text of a turn."""
    PARTIAL = 1
    """Text of a turn that is still spoken. It can be left out."""


@dataclass(slots=True, eq=False)
class QueueEntry:
    """One stage of one window. All times are monotonic seconds."""

    stage: Stage
    key: Hashable
    """Entries of one stage with equal keys may share a call of the model."""
    request_id: int
    payload: Any
    audio_s: float
    n_frames: int
    """Length of the window with its padding, in frames of 10 ms; the same for all entries of one key."""
    deadline: float
    enqueued_at: float
    is_first_window: bool = False
    """The client gets no text before this window is decoded."""
    is_bulk: bool = False
    """No client waits for the request, so windows of other requests go first."""
    live: LiveWork | None = None
    """Work of a live session goes before all other work."""
    caller: Caller = UNKNOWN_CALLER
    """Whose request it is. Callers share the model equally."""
    future: Future[Any] = field(default_factory=Future)
    """Gets the stage's result or an error."""
    started_at: float = 0.0
    n_together: int = 0
    """Number of entries in the call of the model that ran this entry."""
    ended_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries of one stage and key that share a call of the model."""

    stage: Stage
    entries: tuple[QueueEntry, ...]


@dataclass(frozen=True, slots=True)
class BatchLimit:
    """How many windows one call of the model may hold. One window is always allowed."""

    n_windows: int
    n_frames: int | None = None
    """Maximum sum of the frames of the call's windows; None for no maximum."""

    def max_windows(self, n_frames: int) -> int:
        """Return how many windows of `n_frames` each one call may hold."""
        return self.n_windows if self.n_frames is None else max(1, min(self.n_windows, self.n_frames // n_frames))


def fairness_penalty_s(served_audio_s: float) -> float:
    """Return by how many seconds newer entries of other requests may overtake this request's next entry.

    The penalty grows with the audio that the model has already decoded for the request. A clip of one window has none.
    The second window of a recording (up to 22 s each) has up to 3.7 s. From three minutes of audio on it is 30 s:
    longer than the windows of several such recordings wait for each other, so clips overtake all of them. It is no
    longer than that, so a stream of clips cannot starve a recording. Simulated and measured: docs/performance.md.
    """
    return min(served_audio_s / _AUDIO_S_PER_PENALTY_S, MAX_FAIRNESS_PENALTY_S)


def form_batch(
    waiting: Collection[QueueEntry],
    limits: Mapping[Stage, BatchLimit],
    penalties_s: Mapping[int, float],
    caller_levels: Mapping[Caller, int] = _ALL_EQUAL,
) -> Batch | None:
    """Choose the entries of the next call of the model; return None if none wait.

    Entries of live sessions go before all others, final texts before partial ones, and the turn that ended first goes
    first: turns have ascending request ids. Levels and penalties do not apply to them.

    Then the entries of the caller with the lowest level (`caller_usage.CallerUsage`) go first. Bulk entries have the
    highest level of all callers that wait. Within a level the oldest entry goes first, whatever its stage.
    `penalties_s` (request_id -> seconds) makes the entries of a request count as younger than they are. An entry of a
    request's first window counts as old as the oldest entry of that request, because the client waits for its text. A
    bulk entry counts as younger by BULK_PENALTY_S. Encodings do not pile up in memory: if only later windows that must
    be encoded are before a full generate call of their level, it goes first. Entries with the stage and key of the
    first entry join it, in the same order, up to the limit. A bulk entry does not join others, whose call would take
    longer.
    The batch holds only entries that wait now: the model never idles to fill a batch.
    """
    oldest: dict[int, float] = {}
    for entry in waiting:
        oldest[entry.request_id] = min(oldest.get(entry.request_id, entry.enqueued_at), entry.enqueued_at)
    bulk_level = max((caller_levels.get(entry.caller, 0) for entry in waiting), default=0)

    def rank(entry: QueueEntry) -> tuple[int, float, bool]:
        if entry.live is not None:
            return entry.live - len(LiveWork), entry.request_id, False
        level = bulk_level if entry.is_bulk else caller_levels.get(entry.caller, 0)
        return level, *_rank(entry, oldest[entry.request_id], penalties_s.get(entry.request_id, 0.0))

    in_order = sorted(waiting, key=rank)
    if not in_order:
        return None
    first = _next_generate(in_order, limits[Stage.GENERATE])
    if first is None or rank(first)[0] > rank(in_order[0])[0]:
        first = in_order[0]
    return _batch_of(first, in_order, limits[first.stage])


def is_last_without_bulk(running: Collection[Batch], n_threads: int) -> bool:
    """Return True if an ordinary thread that forms a call is the last of `n_threads` that runs no bulk windows.

    A call cannot be interrupted, so a client that finds all threads in bulk calls waits, or shares a core. The last
    thread stays free while a client is expected, and otherwise runs short bulk calls (`with_one_bulk_entry`). A slot
    with one thread has no such thread.
    """
    n_bulk = sum(any(entry.is_bulk for entry in batch.entries) for batch in running)
    return n_threads > 1 and n_bulk >= n_threads - 1


def with_one_bulk_entry(batch: Batch) -> Batch:
    """Return the batch or, if it is of bulk entries, its first entry alone: the call is then as short as possible."""
    return Batch(batch.stage, batch.entries[:1]) if batch.entries[0].is_bulk else batch


def form_priority_batch(
    waiting: Collection[QueueEntry],
    running: Collection[Batch],
    limits: Mapping[Stage, BatchLimit],
    penalties_s: Mapping[int, float],
    n_threads: int,
    caller_levels: Mapping[Caller, int] = _ALL_EQUAL,
) -> Batch | None:
    """Choose live work or first windows for the priority thread, which is one more than the `n_threads` ordinary ones.

    A call of the model cannot be interrupted, but the kernel shares a CPU's cores among all running calls.
    Returns None if an ordinary thread is free, because it takes the entry itself. First windows wait while any running
    call decodes a first window or live work: such a call is short, and one more would only slow it down. Live work
    waits only while as many calls as there are ordinary threads run work that is as urgent. First windows of bulk
    requests count as later ones: they are never taken, and others do not wait for them.
    """
    if len(running) < n_threads:
        return None
    urgent = [entry for entry in waiting if entry.live is not None]
    if urgent:
        most_urgent = min(entry.live for entry in urgent if entry.live is not None)
        n_as_urgent = sum(any(_is_live(entry, most_urgent) for entry in batch.entries) for batch in running)
        return form_batch(urgent, limits, penalties_s) if n_as_urgent < n_threads else None
    if any(_is_first(entry) or entry.live is not None for batch in running for entry in batch.entries):
        return None
    return form_batch([entry for entry in waiting if _is_first(entry)], limits, penalties_s, caller_levels)


def _is_first(entry: QueueEntry) -> bool:
    """Return True for a first window that a client waits for."""
    return entry.is_first_window and not entry.is_bulk


def _is_live(entry: QueueEntry, least: LiveWork) -> bool:
    """Return True for live work that is at least as urgent as `least`."""
    return entry.live is not None and entry.live <= least


def _next_generate(in_order: Sequence[QueueEntry], limit: BatchLimit) -> QueueEntry | None:
    """Return the first entry that does not encode a later window, if it and others fill a generate call; else None.

    Other entries are not overtaken.
    """
    first = next(
        (
            entry
            for entry in in_order
            if entry.stage is not Stage.ENCODE or entry.is_first_window or entry.live is not None
        ),
        None,
    )
    if first is None or first.stage is not Stage.GENERATE or (first.is_bulk and not in_order[0].is_bulk):
        return None
    n_alike = len(_batch_of(first, in_order, limit).entries)
    return first if n_alike == limit.max_windows(first.n_frames) else None


def _batch_of(first: QueueEntry, in_order: Sequence[QueueEntry], limit: BatchLimit) -> Batch:
    """Return a batch of the entry and those that may share its call, in order, up to the limit."""
    compatible = [
        entry
        for entry in in_order
        if (entry.stage, entry.key) == (first.stage, first.key) and (first.is_bulk or not entry.is_bulk)
    ]
    return Batch(first.stage, tuple(compatible[: limit.max_windows(first.n_frames)]))


def _rank(entry: QueueEntry, oldest_of_request: float, penalty_s: float) -> tuple[float, bool]:
    queued_at = oldest_of_request if entry.is_first_window else entry.enqueued_at
    return queued_at + penalty_s + (BULK_PENALTY_S if entry.is_bulk else 0.0), not entry.is_first_window
