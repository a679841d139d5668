"""What goes to the model next, and with whom."""

from dataclasses import replace

from asr_service.engine.model.stages import Stage
from asr_service.engine.schedule.batch import (
    MAX_FAIRNESS_PENALTY_S,
    Batch,
    BatchLimit,
    Job,
    fairness_penalty_s,
    form_batch,
    form_priority_batch,
)

LIMITS = {Stage.ENCODE: BatchLimit(2), Stage.GENERATE: BatchLimit(4), Stage.ALIGN: BatchLimit(4)}
BOUNDED = LIMITS | {Stage.GENERATE: BatchLimit(4, n_frames=3000)}


def job(
    stage: Stage = Stage.GENERATE, *, key: str = "k", request_id: int = 0, at: float = 0.0, n_frames: int = 1000
) -> Job:
    return Job(stage, key, request_id, payload=None, audio_s=1.0, n_frames=n_frames, deadline=1e9, enqueued_at=at)


def formed(
    waiting: list[Job],
    *,
    penalties_s: dict[int, float] | None = None,
    limits: dict[Stage, BatchLimit] = LIMITS,
) -> Batch:
    batch = form_batch(waiting, limits, penalties_s or {})
    assert batch is not None
    return batch


def test_nothing_waits_nothing_runs():
    """Without jobs there is no batch."""
    assert form_batch([], LIMITS, {}) is None


def test_a_lone_job_goes_at_once():
    """An idle model never waits for company."""
    only = job()
    assert formed([only]).jobs == (only,)


def test_jobs_of_different_keys_never_share_a_call():
    """CTranslate2 takes a batch only if its items share options and prompt shape."""
    batch = formed([job(key="a"), job(key="b"), job(key="a")])
    assert [each.key for each in batch.jobs] == ["a", "a"]


def test_a_batch_is_never_over_its_stages_limit():
    """Each stage has its own."""
    assert len(formed([job(Stage.ENCODE) for _ in range(9)]).jobs) == 2
    assert len(formed([job() for _ in range(9)]).jobs) == 4


def test_long_windows_go_in_smaller_batches():
    """By their frames together, where that is bounded; a window too long for the bound goes alone."""
    for n_frames, n_jobs in ((700, 4), (1500, 2), (5000, 1)):
        assert len(formed([job(n_frames=n_frames) for _ in range(4)], limits=BOUNDED).jobs) == n_jobs


class TestFirstWordsOnAThreadOfTheirOwn:
    """Which those are, and when."""

    later = Batch(Stage.GENERATE, (job(),))
    clip = replace(job(key="clip", request_id=1, at=2.0), is_first_window=True)

    def formed(self, waiting: list[Job], running: list[Batch], stands_back_s: float = 0.0) -> Batch | None:
        return form_priority_batch(waiting, running, BOUNDED, {2: stands_back_s}, n_threads=2)

    def test_only_while_every_thread_is_in_a_call_for_later_words(self):
        """One that is free takes them itself, and one that is finding others' is soon free."""
        assert self.formed([self.clip], [self.later]) is None
        assert self.formed([self.clip], [self.later, Batch(Stage.ENCODE, (replace(self.clip),))]) is None
        batch = self.formed([job(at=1.0), self.clip], [self.later, self.later])
        assert batch is not None
        assert batch.jobs == (self.clip,)

    def test_only_first_words(self):
        """A recording's later windows wait for its threads."""
        assert self.formed([job(), job(request_id=1)], [self.later, self.later]) is None

    def test_in_the_queues_order(self):
        """Of two recordings' first words, those of the one that has had much come second."""
        other = replace(job(key="other", request_id=2, at=1.0), is_first_window=True)
        batch = self.formed([self.clip, other], [self.later, self.later], 30.0)
        assert batch is not None
        assert batch.jobs == (self.clip,)


def test_who_came_first_goes_first_whatever_the_stage():
    """And takes along those like it."""
    encode, generate = job(Stage.ENCODE, at=1.0), job(at=2.0)
    assert formed([generate, encode]).jobs == (encode,)
    assert formed([generate, replace(encode, enqueued_at=3.0)]).jobs == (generate,)


def test_a_requests_first_window_goes_before_its_others():
    """Encoded, it takes the place of the next window that is not: its words are what the caller waits for."""
    later, leading = job(Stage.ENCODE, at=1.0), job(at=3.0)
    assert formed([later, leading]).jobs == (later,)
    leading.is_first_window = True
    assert formed([later, leading]).jobs == (leading,)
    earlier_request = job(Stage.ENCODE, request_id=1, at=0.5)
    assert formed([later, leading, earlier_request]).jobs[0] is earlier_request


def test_a_clip_passes_a_recording_that_has_had_much():
    """Within the batch too."""
    long = [job(request_id=1, at=0.1 * number) for number in range(4)]
    clip = job(request_id=2, at=2.0)
    assert formed([*long, clip], penalties_s={1: fairness_penalty_s(60)}).jobs == (clip, *long[:3])


def test_and_a_recording_is_never_passed_for_long():
    """After MAX_FAIRNESS_PENALTY_S it goes before any newcomer, however many there are and however long it is."""
    long = job(request_id=1, key="long", at=0.0)
    newcomers = [job(request_id=request_id, at=MAX_FAIRNESS_PENALTY_S + 0.1) for request_id in range(2, 50)]
    assert formed([*newcomers, long], penalties_s={1: fairness_penalty_s(36_000)}).jobs == (long,)


def test_a_first_window_has_no_handicap():
    """It grows with the audio that a request has had."""
    assert fairness_penalty_s(0) == 0
    assert (
        0
        < fairness_penalty_s(11)
        < fairness_penalty_s(30)
        < fairness_penalty_s(300)
        == fairness_penalty_s(36_000)
        == MAX_FAIRNESS_PENALTY_S
    )
