"""What is measured: each scenario takes the contestants in turn, A B C A B C, with one of them under load at a time."""

import asyncio
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.common.client import Run, closed_loop, open_loop
from benchmarks.common.corpus import Clip
from benchmarks.common.machine import Watch, wait_for_quiet
from benchmarks.common.material import Material
from benchmarks.common.servers import (
    BASELINES,
    SEQUENTIAL,
    SERVICE,
    Server,
    Stage,
    free_port,
    spawn,
    stop,
    wait_until_ready,
)
from benchmarks.load.results import Measure, Round

_PROBE_EVERY_S = 3.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is sent. Requests of a baseline are fewer: it takes several times as long for each."""

    rounds: int = 2
    concurrencies: tuple[int, ...] = (8, 16)
    n_service: int = 48
    n_baseline: int = 16
    n_solo: int = 5
    n_mixed: int = 20
    long_s: float = 620.0
    hour_s: float = 3620.0
    n_probes: int = 12
    open_fractions: tuple[float, ...] = (0.4, 0.7, 0.9)
    open_s: float = 12.0
    n_starts: int = 2
    patience_s: float = 3.0
    """How long to wait for other processes to leave the machine alone, before each turn."""
    contestants: tuple[str, ...] = (SERVICE, *BASELINES)


SMOKE = Plan(
    rounds=1,
    concurrencies=(16,),
    n_service=32,
    n_baseline=12,
    n_solo=3,
    n_mixed=10,
    patience_s=2.0,
    contestants=(SERVICE, SEQUENTIAL),
)
"""Two minutes on two cores: enough to see that something has broken, not to praise anything."""


@dataclass(frozen=True, slots=True)
class Bench:
    plan: Plan
    stage: Stage
    material: Material
    servers: Mapping[str, Server]
    until: float
    """Monotonic seconds: no further round begins after it."""

    def turns(self, wanted: int | None = None) -> Iterator[int]:
        """Rounds, the first always."""
        for number in range(wanted or self.plan.rounds):
            if number and time.monotonic() > self.until:
                return
            yield number

    def each(self, load: Callable[[Server], Run], number: int) -> Round:
        """Take every contestant once, in an order that turns with the round."""
        return {server.name: self.measured(server, load) for server in self.order(number)}

    def measured(self, server: Server, load: Callable[[Server], Run]) -> Measure:
        """Raises RuntimeError: it answered nothing at all, which is no measurement."""
        watch = self.quiet_watch()
        run = load(server)
        if not run.good:
            raise RuntimeError(_silence(server, run))
        return Measure.of(run, watch.others_cores())

    def quiet_watch(self) -> Watch:
        wait_for_quiet(self.plan.patience_s)
        return Watch.start()

    def order(self, number: int) -> list[Server]:
        servers = list(self.servers.values())
        shift = number % len(servers)
        return servers[shift:] + servers[:shift]


def _silence(server: Server, run: Run) -> str:
    statuses = sorted({answer.status for answer in run.answers})
    log = server.log.read_text(errors="replace")[-2000:]
    return f"{server.name} gives no transcript; status {statuses} (0: connection lost)\n{log}"


def one_clip(bench: Bench, concurrency: int) -> list[Round]:
    """(a) One clip again and again, so many at a time."""

    def load(server: Server) -> Run:
        n = bench.plan.n_service if server.name == SERVICE else bench.plan.n_baseline
        clips = [bench.material.clip] * _scaled(n, concurrency)
        return _run(closed_loop(server.url, clips, concurrency))

    rounds = bench.plan.rounds if concurrency == max(bench.plan.concurrencies) else 1
    return [bench.each(load, number) for number in bench.turns(rounds)]


def _scaled(n: int, concurrency: int) -> int:
    """Fewer at low concurrency, where no queue has to fill and drain; at least one for each client."""
    return max(concurrency, n * (concurrency + 4) // 20)


def solo(bench: Bench) -> list[Round]:
    """(c) One clip at a time, the contestants changing after each: latency without company."""
    clip = bench.material.clip
    return [
        bench.each(lambda server: _run(closed_loop(server.url, [clip], 1)), number)
        for number in range(bench.plan.n_solo)
    ]


def mixed(bench: Bench) -> list[Round]:
    """(b) Clips of 2 to 25 s in several languages, which none of the contestants is told."""
    concurrency = max(bench.plan.concurrencies)

    def load(server: Server) -> Run:
        times = 2 if server.name == SERVICE else 1
        return _run(closed_loop(server.url, [*bench.material.mixed] * times, concurrency))

    return [bench.each(load, number) for number in bench.turns()]


def one_file(bench: Bench, clip: Clip) -> list[Round]:
    """(d) One long file alone."""
    return [bench.each(lambda server: _run(closed_loop(server.url, [clip], 1)), number) for number in bench.turns()]


def short_beside_long(bench: Bench, hour: Clip) -> list[dict[str, float]]:
    """(e) A short clip every few seconds while a file of an hour is worked on, against the short clip alone."""
    server = bench.servers[SERVICE]
    watch = bench.quiet_watch()
    alone = _run(closed_loop(server.url, [bench.material.short] * (1 + bench.plan.n_probes // 2), 1))
    beside = _run(_probe_beside(server.url, hour, bench.material.short, bench.plan.n_probes))
    alone_p50 = alone.latency_s(50)
    return [
        {
            "alone_p50_s": alone_p50,
            "beside_p50_s": beside.latency_s(50),
            "beside_p95_s": beside.latency_s(95),
            "p50_ratio": beside.latency_s(50) / alone_p50,
            "p95_ratio": beside.latency_s(95) / alone_p50,
            "n": float(len(beside.good)),
            "others_cores": watch.others_cores(),
        }
    ]


async def _probe_beside(url: str, hour: Clip, short: Clip, n_probes: int) -> Run:
    """Stream the long file's answer, and leave it when the short clips have been measured."""
    long_running = asyncio.create_task(_stream(url, hour))
    await asyncio.sleep(_PROBE_EVERY_S)
    began, runs = time.perf_counter(), []
    for number in range(n_probes):
        if long_running.done():
            break
        runs.append(await closed_loop(url, [short], 1))
        await asyncio.sleep(max(0.0, began + (number + 1) * _PROBE_EVERY_S - time.perf_counter()))
    long_running.cancel()
    await asyncio.gather(long_running, return_exceptions=True)
    return _merged(runs)


async def _stream(url: str, clip: Clip) -> None:
    with clip.path.open("rb") as file:
        async with (
            httpx.AsyncClient(base_url=url, timeout=None) as client,  # cancelled by its owner
            client.stream(
                "POST", "/transcribe", files={"file": (clip.path.name, file)}, data={"response_format": "ndjson"}
            ) as answer,
        ):
            async for _ in answer.aiter_lines():
                pass


def offered_load(bench: Bench, capacity_per_s: float) -> dict[str, list[Round]]:
    """(f) Clips arriving at fractions of the capacity, whatever becomes of those before: by fraction."""
    server = bench.servers[SERVICE]
    return {
        f"open {fraction:.2f}": [
            {SERVICE: bench.measured(server, partial(_arrivals, bench, fraction * capacity_per_s))}
        ]
        for fraction in bench.plan.open_fractions
    }


def _arrivals(bench: Bench, rate: float, server: Server) -> Run:
    """The gaps are the same at every rate but for their scale, so that the rates can be compared."""
    return _run(open_loop(server.url, [bench.material.clip], rate, bench.plan.open_s))


def first_answer(bench: Bench) -> list[dict[str, float]]:
    """(g) From nothing running to the first transcript: the service, and a script that loads and transcribes."""
    turns = []
    for _ in bench.turns(bench.plan.n_starts):
        watch = bench.quiet_watch()
        service_s, bare_s = _service_start(bench), _bare_start(bench)
        ratio = service_s / bare_s
        turns.append({"service_s": service_s, "bare_s": bare_s, "ratio": ratio, "others_cores": watch.others_cores()})
    return turns


def _service_start(bench: Bench) -> float:
    port = free_port()
    log = bench.stage.folder / f"start-{port}.log"
    began = time.perf_counter()
    process = spawn(SERVICE, bench.stage, port, log)
    try:
        server = Server(SERVICE, f"http://127.0.0.1:{port}", process.pid, log)
        wait_until_ready(server, process)
        _run(closed_loop(server.url, [bench.material.clip], 1))
        return time.perf_counter() - began
    finally:
        stop(process)


_BARE = """
import sys
from faster_whisper import WhisperModel
segments, _ = WhisperModel(sys.argv[1], device=sys.argv[4], compute_type=sys.argv[2]).transcribe(
    sys.argv[3], beam_size=5, vad_filter=True, vad_parameters={"min_silence_duration_ms": 500})
print(" ".join(segment.text for segment in segments))
"""


def _bare_start(bench: Bench) -> float:
    stage, clip = bench.stage, bench.material.clip
    began = time.perf_counter()
    command = [sys.executable, "-c", _BARE, str(stage.model), stage.compute_type, str(clip.path), stage.device]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return time.perf_counter() - began


def beside_the_engine(bench: Bench) -> list[dict[str, float]]:
    """(h) The service, its engine without HTTP, and its model calls without the engine, on the same clips."""
    concurrency = max(bench.plan.concurrencies)
    clips = [bench.material.clip] * bench.plan.n_service
    turns = []
    for _ in bench.turns():
        watch = bench.quiet_watch()
        service = _run(closed_loop(bench.servers[SERVICE].url, clips, concurrency)).requests_per_s
        engine = _engine(bench, clips, concurrency)
        turns.append(
            {
                "service_per_s": service,
                "engine_per_s": engine["engine_per_s"],
                "model_calls_per_s": engine["model_calls_per_s"],
                "of_engine": service / engine["engine_per_s"],
                "of_model_calls": service / engine["model_calls_per_s"],
                "others_cores": watch.others_cores(),
            }
        )
    return turns


def _engine(bench: Bench, clips: Sequence[Clip], concurrency: int) -> dict[str, float]:
    stage = bench.stage
    where = ["--model", str(stage.model), "--device", stage.device, "--compute-type", stage.compute_type]
    command = [sys.executable, "-m", "benchmarks.load.engine", *where, "--concurrency", str(concurrency)]
    files = [str(clip.path) for clip in clips]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # as the service has it for its workers
    done = subprocess.run(
        [*command, *files], check=True, stdout=subprocess.PIPE, text=True, timeout=300, env=environment
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def stage_seconds(server: Server) -> dict[str, float]:
    """Seconds that the service has spent in each stage so far, and the number of its requests and their seconds."""
    text = httpx.get(f"{server.url}/metrics", timeout=10).text
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "asr_stage_duration_seconds_sum":
                found[sample.labels["stage"]] = sample.value
            if sample.name.startswith("asr_request_duration_seconds_") and "le" not in sample.labels:
                name = sample.name.rsplit("_", maxsplit=1)[-1]
                found[f"request {name}"] = found.get(f"request {name}", 0.0) + sample.value
    return found


def stages(bench: Bench) -> dict[str, float]:
    """Seconds a request in each stage, one clip at the highest concurrency. Stages overlap where threads do."""
    server, concurrency = bench.servers[SERVICE], max(bench.plan.concurrencies)
    before = stage_seconds(server)
    _run(closed_loop(server.url, [bench.material.clip] * bench.plan.n_service, concurrency))
    spent = {name: value - before.get(name, 0.0) for name, value in stage_seconds(server).items()}
    n_requests = spent.pop("request count")
    return {name.removesuffix(" sum"): value / n_requests for name, value in spent.items()}


def warm(bench: Bench) -> None:
    """A few requests at each contestant that are not counted."""
    for server in bench.servers.values():
        _run(closed_loop(server.url, [*islice(cycle([bench.material.clip, bench.material.short]), 4)], 2))


def capacity(rounds: Sequence[Round]) -> float:
    """The most of any round: other processes can only lower it."""
    return max(turn[SERVICE].requests_per_s for turn in rounds)


def _merged(runs: Sequence[Run]) -> Run:
    answers = tuple(itertools.chain.from_iterable(run.answers for run in runs))
    return Run(answers, float(np.sum([run.wall_s for run in runs])))


def _run(work: Coroutine[object, object, Run]) -> Run:
    return asyncio.run(work)
