"""POST /jobs, GET /jobs/ID, the list, cancelling and transcripts."""


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
