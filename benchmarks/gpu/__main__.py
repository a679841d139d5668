"""Measure the model and the service on an NVIDIA GPU.

    python -m benchmarks.gpu                     random weights in the shape of large-v3
    python -m benchmarks.gpu --model FOLDER      real weights
    python -m benchmarks.gpu --tiny              the same steps on a CPU with a toy model; its figures mean nothing

Writes benchmarks/results/gpu.json and gpu.md after each step, and begins no further step after `--minutes`. The exit
code is 1 if a step failed. With random weights (`common.random_model`) every window has 90 tokens; time and memory are
those of real weights. Needs `pip install .[cuda]` and no network. The tokenizer is that of the installed base model, or
one of bytes (`common.byte_tokenizer`).
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx

from benchmarks.common import arguments
from benchmarks.common.byte_tokenizer import any_tokenizer
from benchmarks.common.client import Run, closed_loop
from benchmarks.common.corpus import Clip
from benchmarks.common.machine import machine
from benchmarks.common.material import joined, material, recordings
from benchmarks.common.prometheus import scrape
from benchmarks.common.random_model import LARGE_V3, TINY, write_random_model
from benchmarks.common.report import RESULTS, save
from benchmarks.common.servers import (
    SERVICE,
    Server,
    ServerConfig,
    exit_on_sigterm,
    free_port,
    spawn,
    stop,
    wait_until_ready,
)
from benchmarks.gpu.calls import N_TOKENS
from benchmarks.gpu.memory_filler import filled
from benchmarks.gpu.report import markdown
from benchmarks.gpu.usage import describe_device, has_gpu, memory_used, sampled

_FREE_MEMORY_RATIO = 1.15
"""Memory left to the service in the out-of-memory step, relative to what the model needs for one window."""
_VERBOSE = {"language": "en", "response_format": "verbose_json"}
_LARGE_BATCHES = {"ASR_ENCODE_BATCH": "32", "ASR_DECODE_BATCH": "32"}

Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    device: str
    compute_types: tuple[str, ...]
    batches: tuple[int, ...]
    files_s: tuple[float, ...]
    concurrencies: tuple[int, ...]
    model_threads: tuple[int, ...]
    clips_per_client: int
    n_times: int
    """Measured calls per batch size."""


FULL = Plan(
    device="cuda:0",
    compute_types=("float16", "int8_float16", "int8"),
    batches=(1, 2, 4, 8, 16, 32),
    files_s=(30.0, 300.0, 1800.0),
    concurrencies=(1, 2, 4, 8, 16, 32, 64),
    model_threads=(1, 2, 4),
    clips_per_client=3,
    n_times=3,
)
SMALL = Plan("cpu", ("float32", "int8"), (1, 2), (30.0,), (1, 2), (1, 2), 1, 1)


@dataclass(frozen=True, slots=True)
class Setup:
    plan: Plan
    model: Path
    folder: Path
    """For logs, sockets and recordings."""
    clip: Clip
    """30 s long."""
    files: tuple[Clip, ...]


Step = Callable[[Setup, Data], Any]


def main() -> None:
    exit_on_sigterm()
    args = _arguments()
    if not args.tiny and not has_gpu():
        sys.exit("No NVIDIA GPU was found. Use --tiny to run the same steps on the CPU.")
    until = time.monotonic() + args.minutes * 60
    plan = SMALL if args.tiny else FULL
    data = _about(args, plan)
    with tempfile.TemporaryDirectory(prefix="asr-gpu-") as folder:
        setup = _prepare(args, plan, Path(folder))
        for _ in measure(setup, data, until):
            save(args.out, data, markdown(data))
    save(args.out, data, markdown(data))
    print(markdown(data))
    sys.exit(bool(data["failed"]))


def measure(setup: Setup, data: Data, until: float) -> Iterator[None]:
    """Run the steps and add their results to `data`. Yields after each; skips those that would begin after `until`.

    The service is measured in the precision that was fastest in the model's calls.
    """
    data["memory before, MiB"] = memory_used(setup.plan.device) / 1024**2
    for compute_type in setup.plan.compute_types:
        child = partial(_in_child, "calls", setup, compute_type, _batches(setup))
        _try(f"calls, {compute_type}", child, data, data["calls"], compute_type, until)
        yield
    calls = data["calls"]
    if not calls:
        return
    data["fastest"] = max(calls, key=lambda name: max(each["realtime"] for each in calls[name]["batches"]))
    for name, step in STEPS.items():
        _try(name, partial(step, setup, data), data, data, name, until)
        yield


def _try(name: str, step: Callable[[], Any], data: Data, target: Data, key: str, until: float) -> None:
    """Run a step and store its result in `target`. A failure is recorded, so that the next steps still run."""
    if time.monotonic() > until:
        data["not measured"][name] = "no time was left"
        return
    try:
        target[key] = step()
        _log(name, target[key])
    except Exception as error:  # noqa: BLE001 - any failure is a result of the benchmark
        data["failed"][name] = repr(error)[:1000]
        _log(name, data["failed"][name])


def _batches(setup: Setup) -> list[str]:
    return ["--times", str(setup.plan.n_times), "--batches", *map(str, setup.plan.batches)]


def _in_child(what: str, setup: Setup, compute_type: str, more: Sequence[str]) -> Data:
    command = [sys.executable, "-m", "benchmarks.gpu.calls", what, "--model", str(setup.model)]
    command += ["--device", setup.plan.device, "--compute-type", compute_type, *more]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=600)
    found: Data = json.loads(done.stdout.splitlines()[-1])
    return found


def _service(setup: Setup, data: Data) -> Data:
    with _slots(setup, data["fastest"], 1) as servers:
        _run(servers, [setup.clip] * 2, 2)
        files = [_one_file(setup, servers, clip) for clip in setup.files]
        loads = [_load(setup, servers, concurrency) for concurrency in setup.plan.concurrencies]
        return {"files": files, "loads": loads, "windows": _windows(setup, servers[0])}


def _windows(setup: Setup, server: Server) -> Data:
    """Return the tokens of one window, and how many windows were decoded again. With random weights none should be."""
    with setup.clip.path.open("rb") as file:
        answer = httpx.post(f"{server.url}/transcribe", files={"file": file}, data=_VERBOSE, timeout=60)
    n_tokens = max(len(segment["tokens"]) for segment in answer.raise_for_status().json()["segments"])
    fallbacks = sum(sample.value for sample in scrape(server.url) if sample.name == "asr_fallbacks_total")
    return {"tokens": n_tokens, "fallbacks": fallbacks}


def _one_file(setup: Setup, servers: Sequence[Server], clip: Clip) -> Data:
    with sampled(setup.plan.device) as usage:
        run = _run(servers, [clip], 1)
    return {
        "audio_s": clip.seconds,
        "seconds": run.wall_s,
        "rtf": run.wall_s / clip.seconds,
        "utilization": usage.utilization,
        "peak_mib": usage.peak_mib,
        "unanswered": run.n_failed,
    }


def _load(setup: Setup, servers: Sequence[Server], concurrency: int) -> Data:
    clips = [setup.clip] * (concurrency * setup.plan.clips_per_client)
    with sampled(setup.plan.device) as usage:
        run = _run(servers, clips, concurrency)
    return {
        "concurrency": concurrency,
        "requests_per_s": run.requests_per_s,
        "realtime": run.audio_s_per_s,
        "p50_s": run.latency_s(50),
        "p95_s": run.latency_s(95),
        "utilization": usage.utilization,
        "peak_mib": usage.peak_mib,
        "unanswered": run.n_failed,
    }


def _model_threads(setup: Setup, data: Data) -> list[Data]:
    """Measure the service at the highest concurrency with each number of threads that call the model."""
    concurrency = max(setup.plan.concurrencies)
    found = []
    for n_threads in setup.plan.model_threads:
        with _slots(setup, data["fastest"], 1, {"ASR_MODEL_THREADS": str(n_threads)}) as servers:
            _run(servers, [setup.clip] * 2, 2)
            found.append({"threads": n_threads} | _load(setup, servers, concurrency))
    return found


def _two_workers(setup: Setup, data: Data) -> list[Data]:
    """Measure two slots on one device, each with half of the clients."""
    with _slots(setup, data["fastest"], 2) as servers:
        _run(servers, [setup.clip] * 4, 2)
        return [_load(setup, servers, concurrency) for concurrency in setup.plan.concurrencies if concurrency > 1]


def _out_of_memory(setup: Setup, data: Data) -> Data | None:
    """Leave little more memory than one window needs and request batches of 32. Every request must succeed."""
    if setup.plan.device == "cpu":
        return None
    needed_mib = data["calls"][data["fastest"]]["batches"][0]["peak_mib"] - data["memory before, MiB"]
    free_mib = int(needed_mib * _FREE_MEMORY_RATIO)
    concurrency = max(setup.plan.concurrencies)
    with filled(setup.plan.device, free_mib), _slots(setup, data["fastest"], 1, _LARGE_BATCHES) as servers:
        run = _run(servers, [setup.clip] * concurrency, concurrency)
        log = servers[0].log.read_text(encoding="utf-8", errors="replace")
    return {
        "free memory, MiB": free_mib,
        "requests": len(run.responses),
        "successful": len(run.successful),
        "statuses": sorted({response.status for response in run.responses}),
        "log lines with out of memory": sum("out of memory" in line for line in log.splitlines()),
    }


def _pipeline(setup: Setup, data: Data) -> Data:
    return _in_child("pipeline", setup, data["fastest"], ["--file", str(setup.files[-1].path)])


STEPS: Mapping[str, Step] = {
    "service": _service,
    "out of memory": _out_of_memory,
    "model threads": _model_threads,
    "pipeline": _pipeline,
    "two workers": _two_workers,
}


@contextmanager
def _slots(
    setup: Setup, compute_type: str, n_slots: int, more: Mapping[str, str] = MappingProxyType({})
) -> Iterator[list[Server]]:
    """Start the service with `n_slots` workers on the device.

    A single worker listens on TCP. Several workers listen on a Unix socket each.
    """
    port = free_port()
    settings = {"ASR_MAX_NEW_TOKENS": str(N_TOKENS), "ASR_MAX_OPEN_REQUESTS": "256"}
    settings |= {"ASR_ENCODER_CONTEXT": "full", **more}  # the default on a GPU, set for the CPU too
    devices = ",".join([setup.plan.device] * n_slots)
    config = ServerConfig(setup.model, compute_type, setup.folder, devices, settings)
    log = setup.folder / f"service-{port}.log"
    process = spawn(SERVICE, config, port, log)
    try:
        sockets = [f"unix:{setup.folder}/slots-{port}/slot-{slot}.sock" for slot in range(n_slots)]
        urls = sockets if n_slots > 1 else [f"http://127.0.0.1:{port}"]
        servers = [Server(SERVICE, url, process.pid, log) for url in urls]
        for server in servers:
            wait_until_ready(server, process)
        yield servers
    finally:
        stop(process)


def _run(servers: Sequence[Server], clips: Sequence[Clip], concurrency: int) -> Run:
    """Distribute the clips and the clients over the servers."""
    return asyncio.run(_distributed(servers, clips, concurrency))


async def _distributed(servers: Sequence[Server], clips: Sequence[Clip], concurrency: int) -> Run:
    n, began = len(servers), time.perf_counter()
    each = max(concurrency // n, 1)
    runs = await asyncio.gather(
        *(closed_loop(server.url, clips[at::n], each, language="en") for at, server in enumerate(servers))
    )
    return Run(tuple(response for run in runs for response in run.responses), time.perf_counter() - began)


def _prepare(args: argparse.Namespace, plan: Plan, folder: Path) -> Setup:
    english = material(recordings(None), 1).joinable
    clip = min(english, key=lambda clip: abs(clip.seconds - 30.0))
    files = tuple(joined([clip, *english], seconds, folder / f"{seconds:.0f}.flac") for seconds in plan.files_s)
    began = time.monotonic()
    model = Path(args.model) if args.model else _random_model(args, folder / ("tiny" if args.tiny else "large-v3"))
    _log("model", f"{model.name}, written in {time.monotonic() - began:.0f} s")
    return Setup(plan, model, folder, clip, files)


def _random_model(args: argparse.Namespace, folder: Path) -> Path:
    tokenizer = args.tokenizer or any_tokenizer(folder.parent)
    return write_random_model(TINY if args.tiny else LARGE_V3, tokenizer, folder, float16=not args.tiny)


def _about(args: argparse.Namespace, plan: Plan) -> Data:
    shape = "a toy model" if args.tiny else "large-v3"
    weights = f"real, {Path(args.model).name}" if args.model else f"random, in the shape of {shape}"
    about = {**machine(), "device": describe_device(plan.device), "weights": weights}
    return {"about": about, "tiny": args.tiny, "calls": {}, "not measured": {}, "failed": {}}


def _log(what: str, found: object) -> None:
    print(f"{what}: {json.dumps(found)[:600]}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = arguments.plain_parser(__doc__)
    parser.add_argument("--model", help="folder of a model with real weights in CTranslate2 format")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json of a multilingual Whisper (default: base's)")
    parser.add_argument("--tiny", action="store_true", help="use a toy model on the CPU")
    parser.add_argument("--minutes", type=float, default=15.0, help="begin no further step after this time")
    parser.add_argument("--out", type=Path, help="output path without the suffix (default: results/gpu or gpu-tiny)")
    args = parser.parse_args()
    args.out = args.out or RESULTS / ("gpu-tiny" if args.tiny else "gpu")
    return args


if __name__ == "__main__":
    main()
