"""The option `peaks` adds the waveform to JSON."""

import json
from base64 import b64decode

import httpx

from api.live import Live, tone
from waiting import until


def test_json_has_the_waveform_on_request(live: Live) -> None:
    """20 peaks a second: those of a tone at 0.3 of full scale. Without the option there are none."""
    answer = live.post(audio=tone(2.1), peaks="true").json()
    assert answer["peaks"]["per_second"] == 20
    assert list(b64decode(answer["peaks"]["data"])) == [76] * 42
    assert "peaks" not in live.post(audio=tone(2.1)).json()


def test_a_stream_has_it_in_its_last_line(live: Live) -> None:
    lines = live.post(peaks="true", response_format="ndjson").text.splitlines()
    assert ["peaks" in json.loads(line) for line in lines] == [False] * (len(lines) - 1) + [True]


def test_a_job_keeps_it_with_its_transcript(named: Live) -> None:
    job = named.post("/jobs", peaks="true").json()["links"]
    until(lambda: named.get(job["self"]).json()["status"] == "succeeded", what="the job")
    assert len(b64decode(named.get(job["transcript"]).json()["peaks"]["data"])) == 20


def test_an_unknown_value_is_refused(live: Live) -> None:
    answer = live.post(peaks="loud")
    assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    assert answer.json()["error"]["param"] == "peaks"
