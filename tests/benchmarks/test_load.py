"""The load benchmark: its arithmetic, and its clients against a server with known behaviour."""

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
from benchmarks.load.report import markdown
from benchmarks.load.results import Measure, Results
from benchmarks.load.targets import findings, regressions
from http_servers import Handler, serving_http


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    """Create three clips. The server refuses b.wav."""
    for name in "abc":
        (tmp_path / f"{name}.wav").write_bytes(b"RIFF")
    return [Clip(tmp_path / f"{name}.wav", 10.0, "en", "one small step", "speech") for name in "abc"]


class Concurrency:
    """Counts the requests that are in the server at the same time."""

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
def server() -> Iterator[tuple[str, Concurrency]]:
    concurrency = Concurrency()

    class Fake(Handler):
        def do_POST(self) -> None:
            with concurrency:
                body = self.body()
                time.sleep(0.02)  # so that requests overlap
            refused = b'filename="b.wav"' in body
            content = json.dumps({"error": {}} if refused else {"text": "one small"}).encode()
            self.answer(503 if refused else 200, content)

    with serving_http(Fake) as url:
        yield url, concurrency


def test_a_closed_loop_keeps_a_fixed_number_of_requests_open(
    server: tuple[str, Concurrency], clips: list[Clip]
) -> None:
    """Each clip is sent once. A refusal counts as unanswered and as a transcript without words."""
    url, concurrency = server
    run = asyncio.run(closed_loop(url, clips * 4, 3))
    assert concurrency.most == 3
    assert (len(run.responses), len(run.successful)) == (12, 8)
    measure = Measure.of(run, 0.0)
    assert measure.n_unanswered == 4
    assert measure.errors == {"en": Errors(1 + 3 + 1, 9)}


def test_an_open_loop_does_not_wait_for_responses(server: tuple[str, Concurrency], clips: list[Clip]) -> None:
    """Requests are sent at their times, although earlier ones are open, and the run ends when all have responses."""
    url, _ = server
    run = asyncio.run(open_loop(url, clips[:1], rate=100.0, duration_s=0.3))
    assert len(run.successful) == len(list(arrivals(100.0, 0.3, seed=1))) > 10
    assert run.latency_s(50) > 0.02


def test_arrivals_are_a_poisson_process() -> None:
    """The rate is as requested, the gaps are exponential (mean equals deviation), and a seed repeats the times."""
    times = list(arrivals(50.0, 200.0, seed=3))
    gaps = [after - before for before, after in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert mean == pytest.approx(1 / 50, rel=0.05)
    assert deviation == pytest.approx(mean, rel=0.1)
    assert times == list(arrivals(50.0, 200.0, seed=3))


def test_a_long_file_is_joined_from_whole_clips(tmp_path: Path) -> None:
    """It is at least as long as requested and has the words of all its clips. The recordings are those of the tests."""
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


def test_a_ratio_uses_the_better_baseline_and_undisturbed_rounds() -> None:
    """The disturbed round is left out and counted. Each ratio compares measurements of one round."""
    clip, engine = findings(results())
    assert (clip.median, clip.least, clip.most) == (7.0, 6.0, 8.0)
    assert (clip.n_rounds, clip.n_quiet, clip.met) == (3, 2, True)
    assert (engine.median, engine.met) == (0.9, False)


def test_ratios_worse_than_expected_are_reported() -> None:
    """So are word error rates. Values as good as expected, and values without an expectation, are not."""
    assert regressions(results(), {"clip c16": 7.0, "clip c16 WER points": 4.0, "mixed": 9.0}) == []
    slower, wrong = regressions(results(), {"clip c16": 7.5, "clip c16 WER points": 3.0})
    assert "7.00, not 7.5" in slower
    assert "+4.00 points" in wrong


def test_results_survive_a_round_trip_through_json() -> None:
    """A report can be written from the JSON. It has the targets and the word error rates."""
    again = Results.from_json(json.loads(json.dumps(results().to_json())))
    assert again == results()
    table = markdown(again)
    assert "| ≥ 6 | ≥ 8 | **7.00** | 6.00 to 8.00 | 3 (2) | yes |" in table
    assert "| all | 100 | 4.00 | 0.00 | 0.00 | +4.00 |" in table


def test_the_cpu_time_of_this_process_does_not_count_as_that_of_others() -> None:
    watch, until = Watch.start(), time.monotonic() + 0.5
    while time.monotonic() < until:
        sum(range(1000))
    assert watch.own_s < Watch.start().own_s
    assert watch.others_cores() < math.inf


def test_the_baseline_accepts_the_service_s_requests() -> None:
    """It has the same form with a file and an optional language, and handles several requests at once."""

    def transcribe(file: BinaryIO, language: str | None) -> dict[str, Any]:
        return {"text": f"{file.read().decode()} in {language}"}

    async def send() -> list[str]:
        transport = httpx.ASGITransport(create_app(transcribe))
        async with httpx.AsyncClient(transport=transport, base_url="http://baseline") as client:
            post = partial(client.post, "/transcribe", files={"file": ("a.wav", b"heard")})
            answers = await asyncio.gather(post(), post(data={"language": "fr"}))
        return [answer.json()["text"] for answer in answers]

    assert asyncio.run(send()) == ["heard in None", "heard in fr"]


def test_a_terminated_benchmark_leaves_no_server(tmp_path: Path) -> None:
    """SIGTERM also stops its servers, including one that is not ready yet."""
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
from benchmarks.common import servers
servers.exit_on_sigterm()
servers._baseline = lambda *_: ["sleep", "60"]
servers.wait_until_ready = lambda server, process: (print(process.pid, flush=True), signal.pause())
with servers.running("sequential", servers.ServerConfig(Path("nowhere"), "int8", Path(sys.argv[1]))):
    pass
"""
