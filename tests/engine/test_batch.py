"""What goes to the model next, and with whom."""

from asr_service.engine.batch import MAX_AGE_S, Batch, Job, Stage, form_batch

LIMITS = {Stage.ENCODE: 2, Stage.GENERATE: 4, Stage.ALIGN: 4}


def job(stage: Stage = Stage.GENERATE, *, key: str = "k", owner: int = 0, at: float = 0.0) -> Job:
    return Job(stage, key, owner, payload=None, audio_s=1.0, deadline=1e9, enqueued_at=at)


def formed(waiting: list[Job], *, last_turn: dict[int, int] | None = None, now: float = 0.5) -> Batch:
    batch = form_batch(waiting, LIMITS, last_turn or {}, now)
    assert batch is not None
    return batch


def test_nothing_waits_nothing_runs():
    """Without jobs there is no batch."""
    assert form_batch([], LIMITS, {}, 0.0) is None


def test_a_lone_job_goes_at_once():
    """An idle model never waits for company."""
    only = job()
    assert formed([only]).jobs == (only,)


def test_jobs_of_different_keys_never_share_a_call():
    """CTranslate2 takes a batch only if its items share options and prompt shape."""
    batch = formed([job(key="a"), job(key="b"), job(key="a")])
    assert {each.key for each in batch.jobs} == {"a"}
    assert len(batch.jobs) == 2


def test_a_batch_is_never_over_its_stages_limit():
    """Each stage has its own limit."""
    assert len(formed([job(Stage.ENCODE) for _ in range(9)]).jobs) == 2
    assert len(formed([job() for _ in range(9)]).jobs) == 4


def test_requests_take_turns_within_a_batch():
    """A long file's many windows leave room for every other request's first."""
    long_file = [job(owner=1) for _ in range(10)]
    clips = [job(owner=owner) for owner in (2, 3)]
    assert [each.owner for each in formed(long_file + clips).jobs] == [1, 2, 3, 1]


def test_who_was_served_longest_ago_goes_first():
    """The turn goes round, also between batches."""
    waiting = [job(owner=1), job(owner=1), job(owner=2), job(owner=3)]
    batch = formed(waiting, last_turn={1: 5, 2: 4, 3: 1})
    assert [each.owner for each in batch.jobs] == [3, 2, 1, 1]


def test_encoding_comes_before_a_part_filled_batch():
    """Windows are encoded first, which fills the decoder's batch."""
    assert formed([job(), job(Stage.ENCODE)]).stage is Stage.ENCODE


def test_a_full_batch_comes_before_encoding():
    """More encoded windows would only take memory."""
    assert formed([job(Stage.ENCODE), *(job() for _ in range(4))]).stage is Stage.GENERATE


def test_an_old_job_is_not_starved_by_new_encodings():
    """A part-filled batch goes once its oldest job has waited long enough."""
    assert formed([job(at=0.0), job(Stage.ENCODE, at=5.0)], now=MAX_AGE_S + 0.1).stage is Stage.GENERATE


def test_alignment_finishes_requests_first():
    """The last stage frees what the request holds."""
    assert formed([job(), job(Stage.ENCODE), job(Stage.ALIGN)]).stage is Stage.ALIGN
