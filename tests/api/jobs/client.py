"""A client of /jobs, for tests."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from api.live import ALL, Live, tone
from waiting import until


def endless(seconds: float) -> bytes:
    """Return a WAV file as a program writes it to a pipe: its header has no length."""
    data = tone(seconds, rate=1000)
    unknown = b"\xff\xff\xff\xff"
    return data[:4] + unknown + data[8:40] + unknown + data[44:]


class JobClient:
    def __init__(self, live: Live, **headers: str) -> None:
        self.live = live
        self.model = live.model
        self._headers = headers

    def request(self, method: str, path: str, **given: Any) -> httpx.Response:
        headers = self._headers | given.pop("headers", {})
        return httpx.request(method, f"{self.live.url}{path}", headers=headers, timeout=60, **given)

    def submit(self, *, audio: bytes | None = None, headers: Mapping[str, str] = {}, **fields: str) -> httpx.Response:
        """Send a form with the audio, by default a second of tone, and the fields."""
        file = ("speech.wav", tone() if audio is None else audio, "audio/wav")
        return self.request("POST", "/jobs", files={"file": file}, data=ALL | fields, headers=headers)

    def accepted(self, **given: Any) -> str:
        """Submit a job, and return its id."""
        response = self.submit(**given)
        assert response.status_code == 202, response.text
        job_id: str = response.json()["id"]
        return job_id

    def show(self, job_id: str, wait_s: float = 0) -> dict[str, Any]:
        response = self.request("GET", f"/jobs/{job_id}", params={"wait": wait_s} if wait_s else {})
        assert response.status_code == 200, response.text
        job: dict[str, Any] = response.json()
        return job

    def reaches(self, job_id: str, status: str) -> dict[str, Any]:
        return until(lambda: self._in(job_id, status), what=status)

    def _in(self, job_id: str, status: str) -> dict[str, Any] | None:
        job = self.show(job_id)
        return job if job["status"] == status else None

    def delete(self, job_id: str) -> httpx.Response:
        return self.request("DELETE", f"/jobs/{job_id}")

    def list(self, **query: str) -> dict[str, Any]:
        response = self.request("GET", "/jobs", params=query)
        assert response.status_code == 200, response.text
        page: dict[str, Any] = response.json()
        return page

    def transcript(self, job_id: str, **query: str) -> httpx.Response:
        return self.request("GET", f"/jobs/{job_id}/transcript", params=query)

    def files(self) -> Iterator[Path]:
        return (self.live.app._engine.settings.state_dir / "jobs" / "files").iterdir()  # type: ignore[operator]
