"""POST /jobs, GET /jobs/ID, the list, cancelling and transcripts."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.jobs.client import JobClient, endless
from api.jobs.conftest import MAX_AUDIO_S, TIMES
from api.live import ALL, serving, tone, two_windows
from asr_service.access.keys import KeyLimits, entry, new_secret
from asr_service.api import handler
from asr_service.api.jobs import routes
from fakes import Call, writing
from waiting import until


def test_a_job_is_accepted_run_and_answered(jobs):
    """The transcript is the one of /transcribe, and can be fetched in any format, any number of times."""
    response = jobs.submit(metadata='{"call": "42"}')
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/jobs/{job['id']}" == job["links"]["self"]
    assert (job["object"], job["status"], job["metadata"]) == ("transcription.job", "queued", {"call": "42"})
    ended = jobs.show(job["id"], wait_s=20)
    assert ended["status"] == "succeeded"
    assert ended["progress"] == {"audio_s_done": 1.0, "audio_s_total": 1.0}
    assert ended["expires_at"] > ended["finished_at"] >= ended["started_at"] >= ended["created_at"]
    direct = jobs.live.post().json()
    stored = jobs.transcript(job["id"]).json()
    assert stored | {"timing": None} == direct | {"timing": None}
    assert jobs.transcript(job["id"], response_format="text").text == "hello\n"
    assert "-->" in jobs.transcript(job["id"], response_format="srt").text


def test_the_transcript_has_the_format_that_was_asked_for_first(jobs):
    """Any other format on request, with its own layout."""
    job_id = jobs.accepted(response_format="srt", max_line_width="20")
    jobs.reaches(job_id, "succeeded")
    assert jobs.transcript(job_id).headers["content-type"].startswith("application/x-subrip")
    assert jobs.transcript(job_id, max_line_count="1").text.startswith("1\n")
    assert jobs.transcript(job_id, response_format="json").json()["segments"][0]["words"], "subtitles need word times"
    assert jobs.transcript(job_id, response_format="verbose_json").json()["task"] == "transcribe"
    lines = jobs.transcript(job_id, response_format="ndjson").text.splitlines()
    assert [line.split(",")[0] for line in lines] == ['{"type":"segment"', '{"type":"transcript"']
    refused = jobs.transcript(job_id, response_format="json", max_line_width="20")
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "max_line_width")
    assert jobs.transcript(job_id, language="en").status_code == 422


def test_the_layout_of_the_submission_is_the_default(jobs):
    """Of both formats of subtitles, also if a request names one. What the request asks for goes first."""
    long = "what the model writes in one window is a line of subtitles"
    jobs.model.script = writing(f" {long}", until_s=8)
    job_id = jobs.accepted(audio=tone(10), response_format="vtt", max_line_width="20", highlight_words="true")
    jobs.reaches(job_id, "succeeded")
    default = jobs.transcript(job_id).text
    assert "<00:00:0" in default
    assert jobs.transcript(job_id, response_format="vtt").text == default
    for fmt, query, longest in (("srt", {}, 20), ("srt", {"max_line_width": "30"}, 30), ("vtt", {}, 20)):
        text = jobs.transcript(job_id, response_format=fmt, **query).text
        spoken = [re.sub("<.*?>", "", line) for line in text.splitlines() if "-->" not in line]
        assert longest - 10 < max(map(len, spoken)) <= longest, text
    assert long in jobs.transcript(job_id, response_format="text").text


def test_transcripts_that_take_long_to_write_leave_threads_for_others(jobs, monkeypatch):
    """A caller's are written one at a time, so that health checks and metrics are answered meanwhile."""
    release, write, began = threading.Event(), handler.render, []

    def slow(*what):
        began.append(what)
        assert release.wait(20)
        return write(*what)

    job_id = jobs.accepted()
    jobs.reaches(job_id, "succeeded")
    monkeypatch.setattr(routes, "render", slow)
    with ThreadPoolExecutor(36) as clients:
        answers = [clients.submit(jobs.transcript, job_id, response_format="srt") for _ in range(36)]
        until(lambda: began, what="the first")
        assert jobs.request("GET", "/health").status_code == 200
        assert jobs.request("GET", "/metrics").status_code == 200
        assert len(began) == 1
        release.set()
        assert {answer.result().status_code for answer in answers} == {200}


def test_the_transcript_has_its_warnings_in_a_header(jobs):
    """As an answer of /transcribe, for formats without a field for them."""
    job_id = jobs.accepted(vad_filter="true")
    jobs.reaches(job_id, "succeeded")
    assert jobs.transcript(job_id, response_format="srt").headers["x-asr-warning"] == "No speech was found."


def test_a_translation_is_a_task(jobs):
    """Jobs have no path of their own for it."""
    job_id = jobs.accepted(task="translate")
    jobs.reaches(job_id, "succeeded")
    assert jobs.transcript(job_id).json()["task"] == "translate"


def test_a_recording_that_cannot_be_transcribed_fails_at_once(jobs):
    """It is not tried again, and the error is the one of /transcribe."""
    too_long = endless(MAX_AUDIO_S + 1)
    job_id = jobs.accepted(audio=too_long)
    job = jobs.reaches(job_id, "failed")
    direct = jobs.live.post(audio=too_long).json()["error"]
    assert job["error"] == {"code": direct["code"], "message": direct["message"]}
    assert job["attempts"] == 1
    response = jobs.transcript(job_id)
    assert (response.status_code, response.json()["error"]["code"]) == (409, "no_transcript")
    assert direct["message"] in response.json()["error"]["message"]


def test_a_failure_of_the_model_is_tried_again(jobs):
    """The record shows the error meanwhile. Cancelling ends the attempts."""

    def fail(call: Call) -> None:
        if call.stage == "generate":
            raise RuntimeError("no")

    jobs.model.before = fail
    job_id = jobs.accepted()
    job = until(lambda: (job := jobs.show(job_id))["error"] and job, what="the first failure")
    assert (job["status"], job["attempts"], job["error"]["code"]) == ("queued", 1, "inference_failed")
    assert jobs.delete(job_id).json()["status"] == "cancelled"


def test_cancelling_ends_a_running_job_while_the_model_works(jobs):
    """A second DELETE deletes it."""
    gate = threading.Event()
    jobs.model.before = lambda call: gate.wait(30) if call.stage == "generate" else None
    try:
        job_id = jobs.accepted()
        jobs.reaches(job_id, "running")
        response = jobs.delete(job_id)
        assert (response.status_code, response.json()["status"]) == (200, "cancelled")
        slot_jobs = jobs.live.app._jobs
        until(lambda: not slot_jobs.busy, within_s=20, what="the runner's end")
    finally:
        gate.set()
    assert jobs.show(job_id)["status"] == "cancelled"
    assert jobs.transcript(job_id).json()["error"]["code"] == "no_transcript"
    assert jobs.delete(job_id).status_code == 204
    missing = jobs.delete(job_id)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "job_not_found")
    assert not [path for path in jobs.files() if job_id in path.name]


def test_an_ended_job_is_deleted_with_its_files(jobs):
    """The recording went when it ended."""
    job_id = jobs.accepted()
    jobs.reaches(job_id, "succeeded")
    until(lambda: [path.name for path in jobs.files() if job_id in path.name] == [f"{job_id}.transcript.json"])
    assert jobs.delete(job_id).status_code == 204
    assert not [path for path in jobs.files() if job_id in path.name]
    assert jobs.transcript(job_id).status_code == 404


def test_a_slot_runs_as_many_jobs_as_fill_its_batches(jobs):
    """Batches of four: sixteen jobs with clips run, at once, and the others wait."""
    gate = threading.Event()
    jobs.model.before = lambda call: gate.wait(60) if call.stage == "generate" else None
    ids = [jobs.accepted() for _ in range(18)]
    until(lambda: len(jobs.list(status="running")["data"]) == 16, what="sixteen jobs that run")
    assert len(jobs.list(status="queued")["data"]) == 2
    gate.set()
    for job_id in ids:
        jobs.reaches(job_id, "succeeded")


def test_a_long_poll_ends_with_the_job_or_with_its_time(jobs):
    """At most a minute."""
    gate = threading.Event()
    jobs.model.before = lambda call: gate.wait(10) if call.stage == "generate" else None
    job_id = jobs.accepted()
    assert jobs.show(job_id, wait_s=0.05)["status"] in {"queued", "running"}
    threading.Timer(0.2, gate.set).start()
    assert jobs.show(job_id, wait_s=20)["status"] == "succeeded"
    refused = jobs.request("GET", f"/jobs/{job_id}?wait=61")
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "wait")


def test_jobs_are_listed_in_pages(jobs):
    """The newest first, and by status."""
    ids = [jobs.accepted() for _ in range(3)][::-1]
    for job_id in ids:
        jobs.reaches(job_id, "succeeded")
    page = jobs.list(limit="2")
    assert [job["id"] for job in page["data"]] == ids[:2]
    assert (page["object"], page["has_more"], page["first_id"], page["last_id"]) == ("list", True, *ids[:2])
    assert jobs.list(limit="1", after=ids[1])["data"][0]["id"] == ids[2]
    assert {job["status"] for job in jobs.list(status="succeeded")["data"]} == {"succeeded"}
    assert jobs.list(status="running")["data"] == []
    assert jobs.request("GET", "/jobs?status=done").status_code == 422
    assert jobs.request("GET", "/jobs?limit=101").status_code == 422


def test_a_page_follows_a_job_that_was_deleted(jobs):
    """A client that deletes what it has read can go on with the next page."""
    older, newer = jobs.accepted(), jobs.accepted()
    jobs.reaches(newer, "succeeded")
    assert jobs.request("DELETE", f"/jobs/{newer}").status_code == 204
    assert [job["id"] for job in jobs.list(limit="1", after=newer)["data"]] == [older]


@pytest.mark.parametrize("after", ["nonsense", "job_x", "a", "JOB_" + "0" * 32, "job_" + "0" * 33, "%00", "%ff"])
def test_a_page_follows_no_text_that_is_not_an_id(jobs, after):
    """It would be the first page again, or an empty one."""
    answer = jobs.request("GET", f"/jobs?after={after}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "after")
    assert answer.json()["error"]["message"].endswith(
        "expected the last_id of the page before, which is the id of a job."
    )


def test_a_job_belongs_to_the_key_that_made_it(tmp_path):
    """Another key gets a 404 and does not see it in the list."""
    alice, bob = new_secret(), new_secret()
    keys = f"{entry('alice', alice)},{entry('bob', bob)}"
    with serving(job_times=TIMES, state_dir=tmp_path, api_keys=keys) as live:
        own, other = JobClient(live, **{"x-api-key": alice}), JobClient(live, **{"x-api-key": bob})
        job_id = own.accepted()
        own.reaches(job_id, "succeeded")
        paths = [f"/jobs/{job_id}", f"/jobs/{job_id}/events", f"/jobs/{job_id}/transcript"]
        answers = [other.request("GET", path) for path in paths] + [other.delete(job_id)]
        assert [(each.status_code, each.json()["error"]["code"]) for each in answers] == [(404, "job_not_found")] * 4
        assert other.list()["data"] == []
        assert [job["id"] for job in own.list()["data"]] == [job_id]
        assert JobClient(live).request("GET", "/jobs").status_code == 401


def test_a_transcript_expires(tmp_path):
    """After its retention time, and then its record goes too."""
    with serving(job_times=TIMES, state_dir=tmp_path, jobs_retention_s=2) as live:
        client = JobClient(live)
        job_id = client.accepted()
        client.reaches(job_id, "expired")
        expired = client.transcript(job_id)
        assert (expired.status_code, expired.json()["error"]["code"]) == (410, "job_expired")
        until(lambda: not [path for path in client.files() if job_id in path.name], what="the end of the file")
        until(lambda: client.request("GET", f"/jobs/{job_id}").status_code == 404, what="the end of the record")


def test_metrics_and_log_lines_name_the_paths(jobs):
    """A label has the template of a path, not the id of a job."""
    job_id = jobs.accepted()
    jobs.reaches(job_id, "succeeded")
    until(lambda: jobs.live.metric('asr_jobs{status="succeeded",store="local"}') >= 1, what="the gauge")
    assert jobs.live.metric('asr_job_attempts_total{outcome="succeeded"}') >= 1
    assert jobs.live.metric('asr_requests_total{code="200",endpoint="/jobs/{job_id}"}') >= 1


def test_the_audio_of_a_job_is_charged_when_it_has_succeeded(tmp_path):
    """The next recording of the key then waits for its limit."""
    secret = new_secret()
    key = entry("charged", secret, KeyLimits(audio_s_per_minute=1.5))
    with serving(job_times=TIMES, state_dir=tmp_path, key_usage_dir=tmp_path, api_keys=key) as live:
        client = JobClient(live, **{"x-api-key": secret})
        client.accepted(audio=tone(20))
        charged = 'asr_key_audio_seconds_total{key="charged"} 20.0'
        until(lambda: charged in client.request("GET", "/metrics").text, what="the charge")
        until(lambda: client.submit().status_code == 429, what="the limit")
        assert client.submit().json()["error"]["code"] == "audio_limit_reached"


def test_a_job_whose_transcript_is_cached_ends_at_once(tmp_path):
    """When it is submitted, and free of charge, with all its segments. A request finds the transcript of a job."""
    secret = new_secret()
    key = entry("cached", secret, KeyLimits(audio_s_per_minute=100))
    with serving(
        job_times=TIMES, state_dir=tmp_path / "state", cache_url="memory", api_keys=key, key_usage_dir=tmp_path
    ) as live:
        client = JobClient(live, **{"x-api-key": secret})
        audio, hits = two_windows(), 'asr_cache_requests_total{outcome="hit"}'
        had = live.metric(hits)
        submitted = client.submit(audio=audio)
        assert submitted.headers["x-asr-cache"] == "miss"
        first = client.reaches(submitted.json()["id"], "succeeded")
        live.model.before = lambda _: 1 / 0
        again = [client.submit(audio=audio, headers={"idempotency-key": "1"}) for _ in range(2)]
        second = again[0].json()
        assert (again[0].status_code, second["status"], again[0].headers["x-asr-cache"]) == (202, "succeeded", "hit")
        assert (again[1].json(), again[1].headers["idempotent-replayed"]) == (second, "true")
        assert second["progress"] == first["progress"]
        assert not [path for path in client.files() if path.name == f"{second['id']}.audio"]
        fields = {"data": ALL, "files": {"file": audio}}
        answer = client.request("POST", "/transcribe", **fields)
        assert (answer.status_code, answer.headers["x-asr-cache"]) == (200, "hit")
        bodies = {client.transcript(job["id"]).content for job in (first, second)}
        assert bodies == {answer.content}
        assert len(answer.json()["segments"]) == 2
        events = client.request("GET", f"/jobs/{second['id']}/events").text
        assert events.count("event: segment") == 2
        assert second["attempts"] == 0
        assert live.metric(hits) == had + 3
        assert live.metric('asr_key_audio_seconds_total{key="cached"}') == 34
