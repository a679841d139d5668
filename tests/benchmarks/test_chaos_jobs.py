"""Jobs under faults and kills: which effects are reported as problems. The injections need a machine of their own."""

import time
from dataclasses import replace
from typing import Any

import pytest

from asr_service.webhooks.signing import new_secret, parse_secrets, sign
from benchmarks.chaos.jobs.ledger import Refusal
from benchmarks.chaos.jobs.report import Fate, Row, find_problems, markdown, row_of
from benchmarks.common.receiver import Receiver
from benchmarks.jobs import kill
from benchmarks.jobs.kill import Kill, Run

GOOD = Fate(("job_1", "job_1"), "succeeded", 2, True, ("evt_1",), 1, False)
REFUSED = Refusal("503 unavailable", 2.0, has_retry_after=True)


def test_a_job_that_ends_once_with_one_event_is_as_expected() -> None:
    """The event may arrive twice with one id, or be listed as failed, and submissions may be refused with a 503."""
    again = replace(GOOD, webhook_ids=("evt_1", "evt_1"), n_signed=2)
    not_delivered = replace(GOOD, webhook_ids=(), n_signed=0, is_listed_as_failed=True)
    assert find_problems([GOOD, again, not_delivered], [REFUSED], {"503 unavailable"}) == ()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"job_ids": ("job_1", "job_2")}, "1 x several jobs for one Idempotency-Key"),
        ({"status": "failed", "is_right": False}, "1 x an accepted job is failed"),
        ({"is_right": False}, "1 x another transcript"),
        ({"webhook_ids": ("evt_1", "evt_2"), "n_signed": 2}, "1 x several events of one job"),
        ({"webhook_ids": (), "n_signed": 0}, "1 x an event is missing"),
        ({"n_signed": 0}, "1 x an event without a valid signature"),
    ],
)
def test_a_wrong_end_of_a_job_is_reported(changes: dict[str, Any], problem: str) -> None:
    assert find_problems([replace(GOOD, **changes)], [], ()) == (problem,)


@pytest.mark.parametrize(
    ("refusal", "problem"),
    [
        (replace(REFUSED, kind="500 internal_error"), "1 x 500 internal_error"),
        (replace(REFUSED, has_retry_after=False), "1 x 503 unavailable without Retry-After"),
        (replace(REFUSED, took_s=31.0), "1 x 503 unavailable after more than 30 s"),
    ],
)
def test_a_refusal_that_is_not_clear_is_reported(refusal: Refusal, problem: str) -> None:
    assert find_problems([GOOD], [refusal], {"503 unavailable"}) == (problem,)


def test_the_table_counts_attempts_and_refusals() -> None:
    again = replace(GOOD, webhook_ids=("evt_1", "evt_1"), n_signed=2)
    row = row_of("sqlite", "kill", [GOOD, again], [REFUSED], ["bad"], note="a note", settled_s=7.0)
    text = markdown({"machine": "two cores"}, [row, Row(layout="sqlite", fault="full disk", skipped="needs root")])
    assert "| sqlite | kill | 2 | 1 x 503 unavailable | 2.0 | 2 x 2 | 1 | 7 | **no** | a note; bad |" in text
    assert "1 faults tried; 1 missed an expectation." in text


def test_the_receiver_recognizes_a_wrong_signature() -> None:
    """With OpenAI's SDK."""
    secret = new_secret()
    receiver = Receiver(secret)
    body = b'{"data": {"id": "job_1"}}'
    for own in (secret, new_secret()):
        receiver.receive(body, sign(parse_secrets(own), "evt_1", int(time.time()), body))
    assert [each.is_signed for each in receiver.arrivals] == [True, False]


KILLED = Kill(5, audio_s_done=1200.0, down_s=4.0, continued_s=20.0, continued_at_s=1215.0)
UNDISTURBED = Run(
    "sqlite", {"status": "succeeded", "attempts": 1, "error": None}, (), 100.0, 90.0, 10.0, 0.0, "one two three",
    ((0.0, 1.0, "one two three"),), 1, ("evt_1",), 1,
)  # fmt: skip
RUN = replace(
    UNDISTURBED, layout="redis", job={**UNDISTURBED.job, "attempts": 3}, kills=(KILLED, KILLED), cpu_s=130.0,
    start_cpu_s=45.0,
)  # fmt: skip


def test_a_run_that_was_killed_twice_may_be_as_expected() -> None:
    """The starts of the programs do not count as its work."""
    assert kill.find_problems(UNDISTURBED, RUN) == []
    assert "| redis | 3 | 1200, 1200 |" in kill.markdown({}, UNDISTURBED, [RUN], [])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"job": {"status": "failed", "error": "why", "attempts": 3}}, "the job is failed: why"),
        ({"job": {"status": "succeeded", "error": None, "attempts": 2}}, "2 attempts after 2 kills"),
        ({"text": "one too three"}, "1 places of the text differ, such as 'two' became 'too'"),
        ({"segments": ((0.0, 2.0, "one two three"),)}, "the times or the borders of segments differ"),
        ({"cpu_s": 175.0}, "it cost 1.62 times the CPU time"),
        ({"webhook_ids": ("evt_1", "evt_2")}, "1 events with 2 ids, of which 1 were signed"),
        (
            {"kills": (replace(KILLED, continued_at_s=17.0), KILLED)},
            "it continued at 17 s, although 1200 s were stored",
        ),
    ],
)
def test_a_run_that_lost_something_is_reported(changes: dict[str, Any], problem: str) -> None:
    assert kill.find_problems(UNDISTURBED, replace(RUN, **changes)) == [problem]
