"""The load's own arithmetic, and its clients against a server whose behaviour is known."""

import asyncio
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import pytest

from benchmarks.common.baseline_server import create_app
from benchmarks.common.client import arrivals, closed_loop, open_loop
from benchmarks.common.corpus import Clip
from benchmarks.common.machine import Watch
from benchmarks.common.material import joined, material, recordings
from benchmarks.common.scoring import Errors
from benchmarks.common.servers import BATCHED, SEQUENTIAL, SERVICE
from benchmarks.load.bars import findings, regressions
from benchmarks.load.report import markdown
from benchmarks.load.results import Measure, Results


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    """Three clips; the server refuses b.wav."""
    for name in "abc":
        (tmp_path / f"{name}.wav").write_bytes(b"RIFF")
    return [Clip(tmp_path / f"{name}.wav", 10.0, "en", "one small step", "speech") for name in "abc"]


class Crowd:
    """How many requests were in the server at once, at most."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now = self.most = 0

    def __enter__(self) -> None:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.now -= 1


@pytest.fixture
def server() -> Iterator[tuple[str, Crowd]]:
    crowd = Crowd()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            with crowd:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(0.02)  # so that requests overlap
            refused = b'filename="b.wav"' in body
            content = json.dumps({"error": {}} if refused else {"text": "one small"}).encode()
            self.send_response(503 if refused else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            """No access log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", crowd
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_closed_loop_keeps_so_many_requests_open_and_no_more(server: tuple[str, Crowd], clips: list[Clip]) -> None:
    """Each clip is sent once; a refusal is counted as unanswered, and as a transcript without words."""
    url, crowd = server
    run = asyncio.run(closed_loop(url, clips * 4, 3))
    assert crowd.most == 3
    assert (len(run.answers), len(run.good)) == (12, 8)
    measure = Measure.of(run, 0.0)
    assert measure.n_unanswered == 4
    assert measure.errors == {"en": Errors(1 + 3 + 1, 9)}


def test_an_open_loop_waits_for_nobody(server: tuple[str, Crowd], clips: list[Clip]) -> None:
    """Requests go out at their times whatever becomes of those before, and all are answered in the end."""
    url, _ = server
    run = asyncio.run(open_loop(url, clips[:1], rate=100.0, duration_s=0.3))
    assert len(run.good) == len(list(arrivals(100.0, 0.3, seed=1))) > 10
    assert run.latency_s(50) > 0.02


def test_arrivals_are_a_poisson_process() -> None:
    """As many a second as asked for, with exponential gaps: as wide as they are long, and the same for one seed."""
    times = list(arrivals(50.0, 200.0, seed=3))
    gaps = [after - before for before, after in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert mean == pytest.approx(1 / 50, rel=0.05)
    assert deviation == pytest.approx(mean, rel=0.1)
    assert times == list(arrivals(50.0, 200.0, seed=3))


def test_long_files_are_joined_of_whole_clips(tmp_path: Path) -> None:
    """At least as long as asked for, with all its clips' words, from recordings that every checkout has."""
    found = material(recordings(None), n_mixed=8)
    assert 4 < found.short.seconds < 8
    assert len({clip.language for clip in found.mixed}) >= 3
    clip = joined(found.joinable, 70.0, tmp_path / "long.flac")
    assert 70 <= clip.seconds < 70 + max(each.seconds for each in found.joinable) + 1
    assert clip.reference.startswith(found.joinable[0].reference)


def measure(requests_per_s: float, p50_s: float = 1.0, others: float = 0.0, n_errors: int = 0) -> Measure:
    return Measure(8, 0, 1.0, requests_per_s, 1.0, p50_s, p50_s, p50_s, {"en": Errors(n_errors, 100)}, others)


def results() -> Results:
    rounds = [
        {SERVICE: measure(6.0, n_errors=4), SEQUENTIAL: measure(1.0), BATCHED: measure(0.5)},
        {SERVICE: measure(8.0), SEQUENTIAL: measure(1.0), BATCHED: measure(0.5)},
        {SERVICE: measure(1.0), SEQUENTIAL: measure(1.0, others=1.5), BATCHED: measure(0.5)},
    ]
    return Results({}, {"clip c16": rounds}, {"engine": [{"of_engine": 0.9}]}, {"queue": 1.0})


def test_a_ratio_is_to_the_better_baseline_in_quiet_rounds() -> None:
    """The disturbed round is left out, and said to be; each ratio is of two turns of one round."""
    clip, engine = findings(results())
    assert (clip.median, clip.least, clip.most) == (7.0, 6.0, 8.0)
    assert (clip.n_rounds, clip.n_quiet, clip.met) == (3, 2, True)
    assert (engine.median, engine.met) == (0.9, False)


def test_what_is_worse_than_stored_is_named() -> None:
    """Ratios and word error rates alike; what is as good as expected, or is not expected, is not named."""
    assert regressions(results(), {"clip c16": 7.0, "clip c16 WER points": 4.0, "mixed": 9.0}) == []
    slower, wrong = regressions(results(), {"clip c16": 7.5, "clip c16 WER points": 3.0})
    assert "7.00, not 7.5" in slower
    assert "+4.00 points" in wrong


def test_results_are_kept_as_they_were() -> None:
    """A report can be made again from the JSON; the table has the bars, and the errors beside the speed."""
    again = Results.from_json(json.loads(json.dumps(results().to_json())))
    assert again == results()
    table = markdown(again)
    assert "| ≥ 6 | ≥ 8 | **7.00** | 6.00 to 8.00 | 3 (2) | yes |" in table
    assert "| all | 100 | 4.00 | 0.00 | 0.00 | +4.00 |" in table


def test_the_work_of_others_shows_and_ours_does_not() -> None:
    """What this process burns is not counted as somebody else's."""
    watch, until = Watch.start(), time.monotonic() + 0.5
    while time.monotonic() < until:
        sum(range(1000))
    assert watch.own_s < Watch.start().own_s
    assert watch.others_cores() < math.inf


def test_the_baseline_answers_as_the_service_is_asked() -> None:
    """The same form, a file and perhaps a language, so that one client serves both; several at once."""

    def transcribe(file: BinaryIO, language: str | None) -> dict[str, Any]:
        return {"text": f"{file.read().decode()} in {language}"}

    async def ask() -> list[str]:
        transport = httpx.ASGITransport(create_app(transcribe))
        async with httpx.AsyncClient(transport=transport, base_url="http://baseline") as client:
            post = partial(client.post, "/transcribe", files={"file": ("a.wav", b"heard")})
            answers = await asyncio.gather(post(), post(data={"language": "fr"}))
        return [answer.json()["text"] for answer in answers]

    assert asyncio.run(ask()) == ["heard in None", "heard in fr"]


def test_a_benchmark_that_is_told_to_end_leaves_no_server(tmp_path: Path) -> None:
    """SIGTERM ends it as Ctrl-C would, its servers too, even one that is not up yet."""
    log = tmp_path / "out"
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-c", _STARTS_A_SERVER, str(tmp_path)], stdout=out)
    until = time.monotonic() + 60
    while not log.read_text().endswith("\n"):
        assert time.monotonic() < until
        time.sleep(0.01)
    process.terminate()
    assert process.wait(30) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text()), 0)


_STARTS_A_SERVER = """
import signal, subprocess, sys
from pathlib import Path
from benchmarks.common import servers as load_servers
load_servers.leave_on_sigterm()
load_servers._baseline = lambda *_: ["sleep", "60"]
load_servers.wait_until_ready = lambda server, process: (print(process.pid, flush=True), signal.pause())
with load_servers.running("sequential", load_servers.Stage(Path("nowhere"), "int8", Path(sys.argv[1]))):
    pass
"""
