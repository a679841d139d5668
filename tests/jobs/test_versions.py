"""Services of different versions share their records during an upgrade of several machines."""

import io
import json
from dataclasses import replace
from typing import Any

import pytest

from asr_service import __version__
from asr_service.engine.request_options import RequestOptions
from asr_service.jobs.records import JobPriority, JobSpec, JobStatus
from asr_service.jobs.running import wire
from asr_service.jobs.running.executor import Work
from asr_service.jobs.store import JobStore
from asr_service.jobs.stores.rules import NEWER_PAUSE_S
from asr_service.jobs.stores.spec import read_spec, write_spec
from jobs.test_store import LEASE_S, SPEC, add, claim, get, succeed

FIRST = (  # as version 0.1.0 wrote it at first
    '{"options":{"language":"pt","task":null,"beam_size":2,"temperature":null,"initial_prompt":null,"hotwords":null,'
    '"condition_on_previous_text":null,"audio_track":null,"vad_filter":null,"vad_threshold":null,'
    '"min_silence_duration_ms":null,"speech_pad_ms":null,"timestamps":null,"word_timestamps":true,'
    '"max_new_tokens":null,"peaks":null},"output":{"response_format":"srt"},"metadata":{"call":"é"},'
    '"priority":"low","webhook_url":"https://example.com/hook","webhook_transcript":true,'
    '"recording_sha256":"ab","traceparent":null}'
)
OF_FIRST = JobSpec(
    RequestOptions(language="pt", beam_size=2, word_timestamps=True),
    {"response_format": "srt"},
    {"call": "é"},
    JobPriority.LOW,
    "https://example.com/hook",
    webhook_transcript=True,
    recording_sha256="ab",
)


def _newer(*, in_options: dict[str, Any], version: str = "99.0", **fields: Any) -> bytes:
    spec = json.loads(write_spec(replace(SPEC, webhook_url="https://example.com/hook")))
    spec["options"] |= in_options
    return json.dumps({**spec, **fields, "version": version}).encode()


def test_a_spec_of_the_first_version_is_read() -> None:
    assert read_spec(FIRST) == (OF_FIRST, False)


def test_a_spec_has_its_version_and_only_what_is_set() -> None:
    """An option that is not set may be unknown to an older version, which would refuse it."""
    written = json.loads(write_spec(JobSpec(RequestOptions(language="pt"))))
    assert written["version"] == __version__
    assert written["options"] == {"language": "pt"}
    assert read_spec(write_spec(OF_FIRST)) == (OF_FIRST, False)
    trailer = wire.encode_work(Work("job_1", "alice", RequestOptions(language="pt")))
    assert json.loads(trailer)["work"]["options"] == {"language": "pt"}
    assert wire.split_body(io.BytesIO(trailer), 0).options == RequestOptions(language="pt")


def test_a_job_of_an_older_version_runs(store: JobStore, damage: Any) -> None:
    job = add(store)
    damage("jobs", job.id, "spec", FIRST.encode())
    assert claim(store, 1.0).job.spec == OF_FIRST


def test_what_a_newer_version_adds_beside_the_options_is_ignored(store: JobStore, damage: Any) -> None:
    job = add(store)
    damage("jobs", job.id, "spec", _newer(in_options={}, tenant="x"))
    assert claim(store, 1.0).job.spec == replace(SPEC, webhook_url="https://example.com/hook")


@pytest.mark.parametrize("in_options", [{"voices": 2}, {"task": "summarize"}])
def test_a_job_that_only_a_newer_version_can_run_waits_for_it(
    store: JobStore, damage: Any, in_options: dict[str, Any]
) -> None:
    """It is not damaged: no attempt counts, the next job runs, and its caller sees what it waits for."""
    newer, sound = add(store, spec=replace(SPEC, webhook_url="https://example.com/hook")), add(store, at=1.0)
    spec = _newer(in_options=in_options)
    damage("jobs", newer.id, "spec", spec)
    for number in range(5):
        at = 2.0 + number * (NEWER_PAUSE_S + 1)
        assert store.claim("old", at, LEASE_S) is None
        if number == 0:
            assert claim(store, at, "old").job.id == sound.id
        shown = get(store, newer.id)
        assert (shown.status, shown.attempts, shown.error and shown.error.code) == (
            JobStatus.QUEUED, 0, "newer_version"
        )  # fmt: skip
        assert shown.spec.metadata == SPEC.metadata
    damage("jobs", newer.id, "spec", _newer(in_options={}))  # what a newer version reads
    held = claim(store, 100.0, "new")
    assert (held.job.id, held.job.attempts) == (newer.id, 1)
    damage("jobs", newer.id, "spec", spec)
    assert succeed(store, held, 101.0)
    assert get(store, newer.id).status is JobStatus.SUCCEEDED
    assert len(store.deliveries(newer.id)) == 1


def test_a_job_of_a_newer_version_can_be_cancelled(store: JobStore, damage: Any) -> None:
    job = add(store)
    damage("jobs", job.id, "spec", _newer(in_options={"voices": 2}))
    cancelled = store.cancel(job.id, 2.0, 10.0)
    assert cancelled is not None
    assert cancelled.status is JobStatus.CANCELLED
    assert store.delete(job.id)


def test_an_unknown_option_of_this_version_is_damage() -> None:
    with pytest.raises(ValueError, match="voices"):
        read_spec(_newer(in_options={"voices": 2}, version=__version__).decode())
