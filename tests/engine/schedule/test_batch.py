"""Which entries share the next call of the model."""

from dataclasses import replace

import pytest

from asr_service.access.caller import Caller
from asr_service.engine.model.stages import Stage
from asr_service.engine.schedule.batch import (
    BULK_PENALTY_S,
    MAX_FAIRNESS_PENALTY_S,
    Batch,
    BatchLimit,
    LiveWork,
    QueueEntry,
    fairness_penalty_s,
    form_batch,
    form_priority_batch,
    is_last_without_bulk,
    with_one_bulk_entry,
)

ALICE, BOB = Caller("alice"), Caller("bob")
LIMITS = {Stage.ENCODE: BatchLimit(2), Stage.GENERATE: BatchLimit(4), Stage.ALIGN: BatchLimit(4)}
BOUNDED = LIMITS | {Stage.GENERATE: BatchLimit(4, n_frames=3000)}


def entry(
    stage: Stage = Stage.GENERATE, *, key: str = "k", request_id: int = 0, at: float = 0.0, n_frames: int = 1000
) -> QueueEntry:
    return QueueEntry(
        stage, key, request_id, payload=None, audio_s=1.0, n_frames=n_frames, deadline=1e9, enqueued_at=at
    )


def formed(
    waiting: list[QueueEntry],
    *,
    penalties_s: dict[int, float] | None = None,
    limits: dict[Stage, BatchLimit] = LIMITS,
) -> Batch:
    batch = form_batch(waiting, limits, penalties_s or {})
    assert batch is not None
    return batch


def test_an_empty_queue_gives_no_batch():
    """The thread then waits for an entry."""
    assert form_batch([], LIMITS, {}) is None


def test_a_single_entry_starts_at_once():
    """An idle model never waits for more entries."""
    only = entry()
    assert formed([only]).entries == (only,)


def test_entries_of_different_keys_never_share_a_call():
    """CTranslate2 takes a batch only if its items share options and prompt shape."""
    batch = formed([entry(key="a"), entry(key="b"), entry(key="a")])
    assert [each.key for each in batch.entries] == ["a", "a"]


def test_a_batch_is_never_larger_than_the_limit_of_its_stage():
    """Each stage has its own."""
    assert len(formed([entry(Stage.ENCODE) for _ in range(9)]).entries) == 2
    assert len(formed([entry() for _ in range(9)]).entries) == 4


def test_encodings_that_fill_a_generate_call_go_before_later_windows_are_encoded():
    """Otherwise all windows of many recordings would be encoded first, and their encodings would fill the memory."""
    encodes = [entry(Stage.ENCODE, at=0.0) for _ in range(3)]
    generates = [entry(at=1.0, request_id=1) for _ in range(4)]
    assert formed([*encodes, *generates[:3]]).stage is Stage.ENCODE
    assert formed([*encodes, *generates]).entries == tuple(generates)
    assert formed([*encodes, *generates[:3], entry(key="other")]).stage is Stage.ENCODE


def test_a_first_window_is_encoded_although_encodings_fill_a_generate_call():
    """Its client waits for the first words. Bulk windows delay no window of another request either."""
    generates = [entry(at=1.0, request_id=1) for _ in range(4)]
    first = replace(entry(Stage.ENCODE), is_first_window=True)
    assert formed([first, *generates]).entries == (first,)
    clip = replace(entry(Stage.ENCODE, request_id=2, at=0.5), is_first_window=True)
    assert formed([entry(Stage.ENCODE), clip, *generates]).stage is Stage.ENCODE, "the clip would be overtaken"
    bulk = [replace(each, is_bulk=True) for each in generates]
    assert formed([entry(Stage.ENCODE), *bulk]).stage is Stage.ENCODE
    assert formed([replace(entry(Stage.ENCODE), is_bulk=True), *bulk]).stage is Stage.GENERATE


def test_long_windows_get_smaller_batches():
    """The sum of their frames is bounded; a window longer than the bound runs alone."""
    for n_frames, n_entries in ((700, 4), (1500, 2), (5000, 1)):
        assert len(formed([entry(n_frames=n_frames) for _ in range(4)], limits=BOUNDED).entries) == n_entries


class TestThePriorityBatch:
    """First windows that run on a thread of their own, in addition to the ordinary threads."""

    later = Batch(Stage.GENERATE, (entry(),))
    clip = replace(entry(key="clip", request_id=1, at=2.0), is_first_window=True)

    def formed(self, waiting: list[QueueEntry], running: list[Batch], penalty_s: float = 0.0) -> Batch | None:
        return form_priority_batch(waiting, running, BOUNDED, {2: penalty_s}, n_threads=2)

    def test_it_is_formed_only_while_every_thread_is_in_a_call_for_later_windows(self):
        """A free thread takes the first window itself, and a thread that runs another first window is soon free."""
        assert self.formed([self.clip], [self.later]) is None
        assert self.formed([self.clip], [self.later, Batch(Stage.ENCODE, (replace(self.clip),))]) is None
        batch = self.formed([entry(at=1.0), self.clip], [self.later, self.later])
        assert batch is not None
        assert batch.entries == (self.clip,)

    def test_it_holds_only_first_windows(self):
        """A recording's later windows wait for the ordinary threads."""
        assert self.formed([entry(), entry(request_id=1)], [self.later, self.later]) is None

    def test_it_follows_the_order_of_the_queue(self):
        """Of two first windows, that of the request with a fairness penalty comes second."""
        other = replace(entry(key="other", request_id=2, at=1.0), is_first_window=True)
        batch = self.formed([self.clip, other], [self.later, self.later], 30.0)
        assert batch is not None
        assert batch.entries == (self.clip,)

    def test_first_windows_of_bulk_requests_count_as_later_windows(self):
        """No client waits for them: they are not taken, and a clip does not wait for them."""
        bulk = replace(self.clip, is_bulk=True)
        running = [Batch(Stage.ENCODE, (bulk,))] * 2
        assert self.formed([bulk], running) is None
        batch = self.formed([bulk, self.clip], running)
        assert batch is not None
        assert batch.entries == (self.clip,)


def test_the_oldest_entry_goes_first_whatever_its_stage():
    """Entries of its stage and key join it."""
    encode, generate = entry(Stage.ENCODE, at=1.0), entry(at=2.0)
    assert formed([generate, encode]).entries == (encode,)
    assert formed([generate, replace(encode, enqueued_at=3.0)]).entries == (generate,)


def test_a_requests_first_window_goes_before_its_other_windows():
    """Its decode entry takes the place of an older encode entry of the same request: the client waits for its text."""
    later, first = entry(Stage.ENCODE, at=1.0), entry(at=3.0)
    assert formed([later, first]).entries == (later,)
    first.is_first_window = True
    assert formed([later, first]).entries == (first,)
    earlier_request = entry(Stage.ENCODE, request_id=1, at=0.5)
    assert formed([later, first, earlier_request]).entries[0] is earlier_request


def test_a_clip_overtakes_a_recording_of_which_much_is_done():
    """Within the batch too."""
    long = [entry(request_id=1, at=0.1 * number) for number in range(4)]
    clip = entry(request_id=2, at=2.0)
    assert formed([*long, clip], penalties_s={1: fairness_penalty_s(60)}).entries == (clip, *long[:3])


def test_a_long_recording_is_overtaken_for_30_s_at_most():
    """After MAX_FAIRNESS_PENALTY_S it goes before newer requests, however many there are and however long it is."""
    long = entry(request_id=1, key="long", at=0.0)
    newer = [entry(request_id=number, at=MAX_FAIRNESS_PENALTY_S + 0.1) for number in range(2, 50)]
    assert formed([*newer, long], penalties_s={1: fairness_penalty_s(36_000)}).entries == (long,)


def test_the_fairness_penalty_grows_with_the_decoded_audio_up_to_a_maximum():
    """A first window has none."""
    assert fairness_penalty_s(0) == 0
    assert 0 < fairness_penalty_s(11) < fairness_penalty_s(30) < fairness_penalty_s(300)
    assert fairness_penalty_s(300) == fairness_penalty_s(36_000) == MAX_FAIRNESS_PENALTY_S


def test_the_caller_that_has_used_least_goes_first():
    """An hour that is cut into clips does not pass another caller's clip, however old its clips are."""
    clips = [replace(entry(request_id=number, at=0.1 * number), caller=ALICE) for number in range(4)]
    other = replace(entry(request_id=9, at=100.0), caller=BOB)
    assert form_batch([*clips, other], LIMITS, {}, {ALICE: 3, BOB: 2}) == Batch(Stage.GENERATE, (other, *clips[:3]))
    assert form_batch([*clips, other], LIMITS, {}, {ALICE: 2, BOB: 2}) == Batch(Stage.GENERATE, tuple(clips))
    first = [replace(each, is_first_window=True) for each in (*clips, other)]
    priority = form_priority_batch(first, [Batch(Stage.ENCODE, (entry(),))], LIMITS, {}, 1, {ALICE: 3, BOB: 2})
    assert priority == Batch(Stage.GENERATE, (first[-1], *first[:3]))


def test_a_full_generate_call_does_not_pass_the_encodings_of_a_caller_that_used_less():
    """It passes those of its own caller."""
    full = [replace(entry(request_id=1, at=1.0), caller=ALICE) for _ in range(4)]
    encode = replace(entry(Stage.ENCODE, request_id=2), caller=BOB)
    assert form_batch([*full, encode], LIMITS, {}, {ALICE: 1, BOB: 0}) == Batch(Stage.ENCODE, (encode,))
    assert form_batch([*full, encode], LIMITS, {}, {}) == Batch(Stage.GENERATE, tuple(full))


def test_a_bulk_window_gets_no_priority_from_its_callers_usage():
    """Its caller has used less than the other one, whose client waits."""
    bulk = replace(entry(key="bulk", request_id=1), is_bulk=True, caller=BOB)
    clip = replace(entry(request_id=2, at=30.0), caller=ALICE)
    assert form_batch([bulk, clip], LIMITS, {}, {ALICE: 3, BOB: 0}) == Batch(Stage.GENERATE, (clip,))
    clip.enqueued_at = 90.0
    assert form_batch([bulk, clip], LIMITS, {}, {ALICE: 3, BOB: 0}) == Batch(Stage.GENERATE, (bulk,))


def test_bulk_windows_let_newer_requests_pass_for_a_minute():
    """After that they advance too, while others never stop."""
    bulk = replace(entry(key="bulk", request_id=1, at=0.0), is_bulk=True)
    newer = entry(key="clip", request_id=2, at=BULK_PENALTY_S - 1)
    assert formed([bulk, newer]).entries == (newer,)
    assert formed([bulk, replace(newer, enqueued_at=BULK_PENALTY_S + 1)]).entries == (bulk,)


def test_bulk_windows_do_not_make_the_call_of_another_request_longer():
    """They share calls among themselves, and others may join them."""
    bulk = [replace(entry(request_id=1), is_bulk=True), replace(entry(request_id=2), is_bulk=True)]
    clip = entry(request_id=3, at=30.0)
    assert formed([*bulk, clip]).entries == (clip,)
    assert set(map(id, formed([*bulk, replace(clip, enqueued_at=90.0)]).entries)) >= set(map(id, bulk))


@pytest.mark.parametrize(
    ("n_threads", "n_bulk_running", "is_last"),
    [(2, 0, False), (2, 1, True), (4, 2, False), (4, 3, True), (1, 0, False)],
)
def test_bulk_windows_leave_one_thread_for_others(n_threads: int, n_bulk_running: int, is_last: bool):
    """So a request soon finds a thread. One thread may always run bulk windows, so they advance."""
    clip, bulk = entry(), replace(entry(), is_bulk=True)
    running = [Batch(Stage.ENCODE, (bulk,))] * n_bulk_running + [Batch(Stage.ENCODE, (clip,))]
    assert is_last_without_bulk(running, n_threads) is is_last
    assert with_one_bulk_entry(Batch(Stage.GENERATE, (bulk, bulk))).entries == (bulk,)
    assert with_one_bulk_entry(Batch(Stage.GENERATE, (clip, clip))).entries == (clip, clip)


def live(
    work: LiveWork, stage: Stage = Stage.GENERATE, *, request_id: int = 0, at: float = 0.0, key: str = "k"
) -> QueueEntry:
    return replace(entry(stage, key=key, request_id=request_id, at=at), live=work, is_first_window=True)


def test_live_work_goes_before_all_other_work_and_final_texts_before_partial_ones():
    """However long the others have waited, and whatever their callers have used."""
    old = replace(entry(at=0, request_id=1), is_first_window=True)
    partial = live(LiveWork.PARTIAL, Stage.ENCODE, request_id=2, at=50)
    final = replace(live(LiveWork.FINAL, Stage.ENCODE, request_id=3, at=60), caller=ALICE)
    levels = {ALICE: 9, old.caller: 0}
    waiting = [old, partial, final]
    assert form_batch(waiting, LIMITS, {3: 30.0}, levels) == Batch(Stage.ENCODE, (final, partial))
    assert form_batch([old, replace(partial, key="other")], LIMITS, {}, levels) is not None
    assert formed([old, replace(partial, stage=Stage.GENERATE, key="other")]).entries[0].live is LiveWork.PARTIAL


def test_the_turn_that_ended_first_is_finished_first():
    """Its later stages go before the earlier stages of turns that ended after it."""
    first = live(LiveWork.FINAL, Stage.GENERATE, request_id=1, at=5)
    second = live(LiveWork.FINAL, Stage.ENCODE, request_id=2, at=1)
    assert formed([second, first]).entries == (first,)


def test_a_full_decoder_call_does_not_overtake_live_work():
    """Encodings that wait for the decoder give way, too."""
    urgent = live(LiveWork.PARTIAL, Stage.ENCODE, request_id=9, at=100)
    assert formed([*(entry() for _ in range(4)), urgent]).entries == (urgent,)


def test_other_windows_share_a_call_with_live_work():
    """If they have its stage and key, up to the limit; bulk windows do not."""
    urgent, other, bulk = live(LiveWork.FINAL, at=9), entry(at=1), replace(entry(), is_bulk=True)
    assert formed([bulk, other, urgent]).entries == (urgent, other)


def test_the_priority_thread_runs_live_work_beside_long_calls():
    """Also while a first window runs, unless as many calls as there are threads run work that is as urgent."""
    long_call = Batch(Stage.GENERATE, (entry(),))
    first_window = Batch(Stage.GENERATE, (replace(entry(), is_first_window=True),))
    final, partial = live(LiveWork.FINAL), live(LiveWork.PARTIAL)
    running_final, running_partial = Batch(Stage.ENCODE, (final,)), Batch(Stage.ENCODE, (partial,))

    def taken(waiting: QueueEntry, *running: Batch) -> bool:
        return form_priority_batch([waiting], running, LIMITS, {}, n_threads=2) is not None

    assert taken(final, long_call, first_window)
    assert taken(final, running_partial, running_partial)
    assert taken(partial, running_final, long_call)
    assert not taken(final, running_final, running_final)
    assert not taken(partial, running_final, running_partial)
    assert not taken(final, long_call)  # the other ordinary thread takes it
    later_of_turn = Batch(Stage.ENCODE, (replace(final, is_first_window=False),))
    assert not taken(replace(entry(), is_first_window=True), long_call, running_final)
    assert not taken(replace(entry(), is_first_window=True), long_call, later_of_turn)
