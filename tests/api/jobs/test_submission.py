"""POST /jobs: what is accepted, and what is refused at once."""

import json

import pytest

from api.jobs.client import JobClient
from api.live import serving, tone


def test_a_recording_may_be_the_body(jobs):
    """The options are then in the query, as at /transcribe."""
    response = jobs.request(
        "POST",
        "/jobs",
        params={"vad_filter": "false", "priority": "low"},
        content=tone(40),
        headers={"content-type": "audio/wav"},
    )
    assert response.status_code == 202
    assert response.json()["progress"]["audio_s_total"] == 40
    assert jobs.show(response.json()["id"], wait_s=20)["status"] == "succeeded"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"langauge": "en"}, "langauge"),
        ({"language": "Klingon"}, "language"),
        ({"beam_size": "99"}, "beam_size"),
        ({"response_format": "docx"}, "response_format"),
        ({"highlight_words": "true"}, "highlight_words"),
        ({"priority": "high"}, "priority"),
        ({"metadata": "call"}, "metadata"),
        ({"metadata": '["call"]'}, "metadata"),
        ({"metadata": '{"call": 42}'}, "metadata"),
        ({"metadata": json.dumps({"call": "x" * 513})}, "metadata"),
        ({"metadata": json.dumps({"call": "\ud800"})}, "metadata"),
        ({"metadata": json.dumps({"x" * 65: "call"})}, "metadata"),
        ({"metadata": json.dumps({str(n): "x" for n in range(17)})}, "metadata"),
        ({"webhook_url": "https://example.com/hook"}, "webhook_url"),
    ],
)
def test_a_job_that_could_not_run_is_refused_at_once(jobs, fields, param):
    """A 422 names the field, and no job is made."""
    before = jobs.list()
    response = jobs.submit(**fields)
    assert response.status_code == 422, response.text
    assert response.json()["error"]["param"] == param
    assert jobs.list() == before


def test_a_recording_that_is_none_is_refused_at_once(jobs):
    """As at /transcribe."""
    for audio in (b"no sound", b"", b"RIFF" + bytes(2**20)):
        refused, direct = jobs.submit(audio=audio), jobs.live.post(audio=audio)
        assert (refused.status_code, refused.json()) == (direct.status_code, direct.json())
    assert jobs.submit(audio_track="9").json()["error"]["param"] == "audio_track"
    assert jobs.request("POST", "/jobs", content=b"{}", headers={"content-type": "application/json"}).status_code == 415
    assert jobs.request("POST", "/jobs", data={"language": "en"}, files={"other": b"x"}).status_code == 400


def test_the_same_idempotency_key_gives_the_same_job(jobs):
    """Whether it has ended or not. Another recording or other fields are a conflict."""
    headers = {"idempotency-key": "call-0042"}
    first = jobs.submit(headers=headers)
    again = jobs.submit(headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    jobs.reaches(first.json()["id"], "succeeded")
    assert jobs.submit(headers=headers).json()["status"] == "succeeded"
    conflict = jobs.submit(headers=headers, language="en")
    assert (conflict.status_code, conflict.json()["error"]["code"]) == (409, "idempotency_conflict")
    assert jobs.submit(headers=headers, audio=tone(2)).status_code == 409


def test_without_a_directory_the_error_names_the_setting(live):
    """Every path of /jobs answers 501."""
    client = JobClient(live)
    for response in (
        client.submit(),
        client.request("GET", "/jobs"),
        client.transcript("job_1"),
        client.delete("job_1"),
    ):
        assert response.status_code == 501
        assert "ASR_STATE_DIR" in response.json()["error"]["message"]
        assert response.json()["error"]["code"] == "jobs_disabled"


def test_webhooks_are_checked_when_the_job_is_submitted(tmp_path):
    """A URL that may not be called is a 422, and so is one that would need a network that is not allowed."""
    secret = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    with serving(state_dir=tmp_path, webhook_secret=secret, webhook_allow_networks="127.0.0.1") as live:
        client = JobClient(live)
        for url in ("ftp://example.com", "http://10.0.0.1/hook", "https://user:pass@example.com/", "hook"):
            response = client.submit(webhook_url=url)
            assert (response.status_code, response.json()["error"]["param"]) == (422, "webhook_url"), url
        assert client.submit(webhook_url="http://127.0.0.1:9/hook").status_code == 202


def test_the_limits_of_a_caller_are_a_429(tmp_path):
    """On waiting jobs and on bytes. What is refused leaves no file."""
    with serving(state_dir=tmp_path, jobs_max_waiting=1, jobs_max_bytes=100_000) as live:
        client = JobClient(live)
        too_large = client.submit(audio=tone(5))
        assert (too_large.status_code, too_large.json()["error"]["code"]) == (429, "job_limit_reached")
        assert int(too_large.headers["retry-after"]) >= 1
        assert list(client.files()) == []
