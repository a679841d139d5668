"""The scenarios of the load benchmark.

Each scenario loads the servers in turn (A B C, B C A, ...), one server at a time.
"""

import asyncio
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice

import httpx
import numpy as np

from benchmarks.common.client import Run, closed_loop, open_loop
from benchmarks.common.corpus import Clip
from benchmarks.common.machine import Watch, wait_for_quiet
from benchmarks.common.material import Material
from benchmarks.common.prometheus import scrape, stage_seconds
from benchmarks.common.servers import (
    SEQUENTIAL,
    SERVERS,
    SERVICE,
    TUNED,
    Server,
    ServerConfig,
    free_port,
    spawn,
    stop,
    wait_until_ready,
)
from benchmarks.load.results import Measure, Round

_PROBE_EVERY_S = 3.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much load each scenario sends. The baselines get fewer requests because they are several times slower."""

    rounds: int = 2
    concurrencies: tuple[int, ...] = (8, 16)
    n_service: int = 48
    n_baseline: int = 16
    n_solo: int = 5
    n_mixed: int = 20
    long_s: float = 620.0
    half_hour_s: float = 1820.0
    hour_s: float = 3620.0
    n_probes: int = 12
    open_fractions: tuple[float, ...] = (0.4, 0.7, 0.9)
    open_s: float = 12.0
    n_starts: int = 2
    patience_s: float = 3.0
    """Maximum time to wait, before each measurement, until other processes are idle."""
    servers: tuple[str, ...] = SERVERS


SMOKE = Plan(
    rounds=1,
    concurrencies=(16,),
    n_service=32,
    n_baseline=12,
    n_solo=3,
    n_mixed=24,
    patience_s=2.0,
    servers=(SERVICE, SEQUENTIAL),
)
"""Takes two to three minutes on two cores. Shows a regression; the figures are not for publication."""


@dataclass(frozen=True, slots=True)
class Bench:
    """The servers, what is sent to them, and when to stop."""

    plan: Plan
    config: ServerConfig
    material: Material
    servers: Mapping[str, Server]
    until: float
    """Monotonic time after which no further round begins."""

    def rounds(self, wanted: int | None = None) -> Iterator[int]:
        """Yield the numbers of the rounds until the time is over. The first round always runs."""
        for number in range(wanted or self.plan.rounds):
            if number and time.monotonic() > self.until:
                return
            yield number

    def each(self, load: Callable[[Server], Run], number: int, without: Collection[str] = ()) -> Round:
        """Measure the servers once, in an order that rotates with the round."""
        servers = (server for server in self.order(number) if server.name not in without)
        return {server.name: self.measured(server, load) for server in servers}

    def measured(self, server: Server, load: Callable[[Server], Run]) -> Measure:
        """Measure one server under a load.

        Raises RuntimeError: when no request succeeded.
        """
        watch = self.quiet_watch()
        run = load(server)
        if not run.successful:
            raise RuntimeError(_failure(server, run))
        return Measure.of(run, watch.others_cores())

    def quiet_watch(self) -> Watch:
        wait_for_quiet(self.plan.patience_s)
        return Watch.start()

    def order(self, number: int) -> list[Server]:
        servers = list(self.servers.values())
        shift = number % len(servers)
        return servers[shift:] + servers[:shift]


def _failure(server: Server, run: Run) -> str:
    statuses = sorted({response.status for response in run.responses})
    log = server.log.read_text(errors="replace")[-2000:]
    return (
        f"The server {server.name!r} returned no transcript, only the statuses {statuses} (0 is a lost connection). "
        f"Its log ends with:\n{log}"
    )


def one_clip(bench: Bench, concurrency: int) -> list[Round]:
    """Run scenario a: send one clip repeatedly at a fixed concurrency."""

    def load(server: Server) -> Run:
        n = bench.plan.n_service if server.name == SERVICE else bench.plan.n_baseline
        clips = [bench.material.clip] * _scaled(n, concurrency)
        return _run(closed_loop(server.url, clips, concurrency))

    rounds = bench.plan.rounds if concurrency == max(bench.plan.concurrencies) else 1
    return [bench.each(load, number) for number in bench.rounds(rounds)]


def _scaled(n: int, concurrency: int) -> int:
    """Send fewer requests at low concurrency, where no queue has to fill and drain, but at least one per client."""
    return max(concurrency, n * (concurrency + 4) // 20)


def solo(bench: Bench) -> list[Round]:
    """Run scenario c: send a single clip to each server in turn, which shows the latency without other load."""
    clip = bench.material.clip
    return [
        bench.each(lambda server: _run(closed_loop(server.url, [clip], 1)), number)
        for number in range(bench.plan.n_solo)
    ]


def mixed(bench: Bench) -> list[Round]:
    """Run scenario b: send clips of 2 to 25 s in several languages without declaring the language."""
    concurrency = max(bench.plan.concurrencies)

    def load(server: Server) -> Run:
        times = 2 if server.name == SERVICE else 1
        return _run(closed_loop(server.url, [*bench.material.mixed] * times, concurrency))

    return [bench.each(load, number) for number in bench.rounds()]


def one_file(bench: Bench, clip: Clip) -> list[Round]:
    """Run scenario d: send one long file alone, to each server that has a target for it."""
    return [
        bench.each(lambda server: _run(closed_loop(server.url, [clip], 1)), number, without=(TUNED,))
        for number in bench.rounds()
    ]


def half_an_hour(bench: Bench, clip: Clip) -> list[Round]:
    """Run the second part of scenario d: send a longer file alone, to the service and to the batched baseline."""
    return [
        bench.each(lambda server: _run(closed_loop(server.url, [clip], 1)), number, without=(SEQUENTIAL, TUNED))
        for number in bench.rounds(1)
    ]


def short_beside_long(bench: Bench, hour: Clip) -> list[dict[str, float]]:
    """Run scenario e: send a short clip every 3 s while a file of an hour is transcribed, and the short clip alone."""
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
            "n": float(len(beside.successful)),
            "others_cores": watch.others_cores(),
        }
    ]


async def _probe_beside(url: str, hour: Clip, short: Clip, n_probes: int) -> Run:
    """Stream the long file's transcript, and disconnect when the short clips have been measured."""
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
            httpx.AsyncClient(base_url=url, timeout=None) as client,  # the caller cancels it
            client.stream(
                "POST", "/transcribe", files={"file": (clip.path.name, file)}, data={"response_format": "ndjson"}
            ) as answer,
        ):
            async for _ in answer.aiter_lines():
                pass


def offered_load(bench: Bench, capacity_per_s: float) -> dict[str, list[Round]]:
    """Run scenario f: send clips in an open loop at fractions of the capacity. Each fraction has a name of its own."""
    server = bench.servers[SERVICE]
    return {
        f"open {fraction:.2f}": [
            {SERVICE: bench.measured(server, partial(_arrivals, bench, fraction * capacity_per_s))}
        ]
        for fraction in bench.plan.open_fractions
    }


def _arrivals(bench: Bench, rate: float, server: Server) -> Run:
    """Send with the same scaled gaps at every rate, so that the rates are comparable."""
    return _run(open_loop(server.url, [bench.material.clip], rate, bench.plan.open_s))


def first_answer(bench: Bench) -> list[dict[str, float]]:
    """Run scenario g: start the service and send a clip, and run a script that loads the model and transcribes."""
    turns = []
    for _ in bench.rounds(bench.plan.n_starts):
        watch = bench.quiet_watch()
        service_s, bare_s = _service_start(bench), _bare_start(bench)
        ratio = service_s / bare_s
        turns.append({"service_s": service_s, "bare_s": bare_s, "ratio": ratio, "others_cores": watch.others_cores()})
    return turns


def _service_start(bench: Bench) -> float:
    port = free_port()
    log = bench.config.folder / f"start-{port}.log"
    began = time.perf_counter()
    process = spawn(SERVICE, bench.config, port, log)
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
    sys.argv[3], beam_size=5, vad_filter=True)
print(" ".join(segment.text for segment in segments))
"""


def _bare_start(bench: Bench) -> float:
    config, clip = bench.config, bench.material.clip
    began = time.perf_counter()
    command = [sys.executable, "-c", _BARE, str(config.model), config.compute_type, str(clip.path), config.device]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return time.perf_counter() - began


def beside_the_engine(bench: Bench) -> list[dict[str, float]]:
    """Run scenario h: the service, its engine without HTTP, and the engine's model calls alone, on the same clips."""
    concurrency = max(bench.plan.concurrencies)
    clips = [bench.material.clip] * bench.plan.n_service
    turns = []
    for _ in bench.rounds():
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
    config = bench.config
    where = ["--model", str(config.model), "--device", config.device, "--compute-type", config.compute_type]
    command = [sys.executable, "-m", "benchmarks.load.engine", *where, "--concurrency", str(concurrency)]
    files = [str(clip.path) for clip in clips]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # as in the service's workers
    done = subprocess.run(
        [*command, *files], check=True, stdout=subprocess.PIPE, text=True, timeout=300, env=environment
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _spent_seconds(server: Server) -> dict[str, float]:
    """Return the seconds that the service has spent in each stage, and its requests' `count` and `sum` of seconds."""
    samples = scrape(server.url)
    found = stage_seconds(samples)
    for sample in samples:
        if sample.name.startswith("asr_request_duration_seconds_") and "le" not in sample.labels:
            name = sample.name.rsplit("_", maxsplit=1)[-1]
            found[f"request {name}"] = found.get(f"request {name}", 0.0) + sample.value
    return found


def stages(bench: Bench) -> dict[str, float]:
    """Measure the seconds per request in each stage, with one clip at the highest concurrency. Stages may overlap."""
    server, concurrency = bench.servers[SERVICE], max(bench.plan.concurrencies)
    before = _spent_seconds(server)
    _run(closed_loop(server.url, [bench.material.clip] * bench.plan.n_service, concurrency))
    spent = {name: value - before.get(name, 0.0) for name, value in _spent_seconds(server).items()}
    n_requests = spent.pop("request count")
    return {name.removesuffix(" sum"): value / n_requests for name, value in spent.items()}


def warm(bench: Bench) -> None:
    """Send a few unmeasured requests to each server."""
    for server in bench.servers.values():
        _run(closed_loop(server.url, [*islice(cycle([bench.material.clip, bench.material.short]), 4)], 2))


def capacity(rounds: Sequence[Round]) -> float:
    """Return the highest throughput of any round. Other processes can only lower it."""
    return max(turn[SERVICE].requests_per_s for turn in rounds)


def _merged(runs: Sequence[Run]) -> Run:
    responses = tuple(itertools.chain.from_iterable(run.responses for run in runs))
    return Run(responses, float(np.sum([run.wall_s for run in runs])))


def _run(work: Coroutine[object, object, Run]) -> Run:
    return asyncio.run(work)
