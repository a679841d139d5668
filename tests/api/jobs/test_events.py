"""GET /jobs/ID/events: server-sent events."""

import json
import threading
from typing import Any

from api.live import in_second_window, two_windows


def read(jobs: Any, job_id: str, **headers: str) -> list[tuple[str, str, Any]]:
    """Return the events until the stream ends: name, id and data."""
    response = jobs.request("GET", f"/jobs/{job_id}/events", headers=headers)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    return list(map(parse, response.text.strip().split("\n\n")))


def parse(event: str) -> tuple[str, str, Any]:
    fields = dict(line.split(": ", 1) for line in event.splitlines())
    return fields["event"], fields.get("id", ""), json.loads(fields["data"])


def test_events_show_the_state_and_the_segments_as_they_become_known(jobs):
    """The first segment comes while the second window still waits."""
    gate = threading.Event()
    jobs.model.before = lambda call: gate.wait(20) if in_second_window(call) else None
    job_id = jobs.accepted(audio=two_windows())
    timer = threading.Timer(1.0, gate.set)
    timer.start()
    events = read(jobs, job_id)
    timer.join()
    segments = [(event_id, data) for name, event_id, data in events if name == "segment"]
    assert [event_id for event_id, _ in segments] == ["1", "2"]
    stored = jobs.transcript(job_id).json()["segments"]
    assert [data for _, data in segments] == [{"type": "segment"} | segment for segment in stored]
    states = [data for name, _, data in events if name == "job"]
    assert states[-1] == jobs.show(job_id)
    assert (states[-1]["status"], events[-1][0]) == ("succeeded", "job")
    first = events.index(("segment", "1", segments[0][1]))
    assert any(name == "job" and data["status"] == "running" for name, _, data in events[: first + 2])


def test_last_event_id_leaves_out_what_the_client_has(jobs):
    """Of a job that has ended, too. An id that is none is ignored."""
    job_id = jobs.accepted(audio=two_windows())
    jobs.reaches(job_id, "succeeded")
    names = [(name, event_id) for name, event_id, _ in read(jobs, job_id, **{"last-event-id": "1"})]
    assert names == [("segment", "2"), ("job", "")]
    assert [name for name, *_ in read(jobs, job_id, **{"last-event-id": "2"})] == ["job"]
    assert len(read(jobs, job_id, **{"last-event-id": "x"})) == 3


def test_the_events_of_a_job_end_when_it_is_cancelled(jobs):
    """The last one says so."""
    gate = threading.Event()
    jobs.model.before = lambda call: gate.wait(20) if call.stage == "generate" else None
    job_id = jobs.accepted()
    timer = threading.Timer(0.3, jobs.delete, [job_id])
    timer.start()
    events = read(jobs, job_id)
    timer.join()
    gate.set()
    assert events[-1][2]["status"] == "cancelled"
