"""Format the GPU benchmark's measurements as Markdown. Steps that were not measured are left out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.common.report import facts, table

_FIVE_MINUTES_S = (290.0, 340.0)
_FEATURE_BATCH = 16


def markdown(data: Mapping[str, Any]) -> str:
    parts = ["# GPU benchmark", facts(data["about"])]
    if data["tiny"]:
        parts.append("**A toy model on a CPU. This shows that the program runs; its figures mean nothing.**")
    if "service" in data:
        parts += ["## Targets", table(("target", "limit", "measured", "met"), targets(data))]
    if data["failed"]:
        parts += ["## Failed", facts(data["failed"])]
    parts += ["## Model calls, windows of 30 s, beam 5", _calls(data["calls"])]
    if "service" in data:
        windows = data["service"]["windows"]
        parts += [f"## The service with {data['fastest']}", _files(data), _loads(data["service"]["loads"])]
        parts.append(f"{windows['tokens']:.0f} tokens per window. {windows['fallbacks']:.0f} windows decoded again.")
    if "model threads" in data:
        parts += ["## Threads that call the model", _loads(data["model threads"], ("threads", "threads"))]
    if "two workers" in data:
        parts += ["## Two workers on one device", _loads(data["two workers"])]
    if "pipeline" in data:
        parts += ["## BatchedInferencePipeline of faster-whisper, batch 16", _pipeline(data["pipeline"])]
    if "out of memory" in data:
        found = data["out of memory"]
        parts += ["## Out of memory on purpose", facts(found) if found else "Not tried: this needs a GPU."]
    if data["not measured"]:
        parts += ["## Not measured", facts(data["not measured"])]
    return "\n\n".join(parts) + "\n"


def targets(data: Mapping[str, Any]) -> list[Sequence[str]]:
    """Compare with the targets for an H100."""
    loads, files = data["service"]["loads"], data["service"]["files"]
    best = max(loads, key=lambda load: load["realtime"])
    gib = [
        (each["peak_mib"] - data["memory before, MiB"]) / 1024
        for each in data["calls"][data["fastest"]]["batches"]
        if each["batch"] == _FEATURE_BATCH
    ]
    five = [each["rtf"] for each in files if _FIVE_MINUTES_S[0] <= each["audio_s"] <= _FIVE_MINUTES_S[1]]
    rows = [
        _target("total throughput, × real time", best["realtime"], "≥ 200", best["realtime"] >= 200),
        _target("memory at batch 16, GiB", gib[0] if gib else None, "< 4.5", bool(gib) and gib[0] < 4.5),
        _target("GPU utilization under load", best["utilization"], "> 0.9", (best["utilization"] or 0) > 0.9),
        _target(
            "real-time factor, one file of 5 min", five[0] if five else None, "≤ 0.02", bool(five) and five[0] <= 0.02
        ),
    ]
    return [(*row[:3], "no GPU") for row in rows] if data["tiny"] else rows


def _target(what: str, measured: float | None, limit: str, met: bool) -> Sequence[str]:
    return what, limit, _number(measured), "not measured" if measured is None else "yes" if met else "no"


def _calls(calls: Mapping[str, Any]) -> str:
    heads = ("precision", "batch", "encode s", "generate s", "tokens per window", "× real time", "memory MiB")
    fields = ("encode_s", "generate_s", "n_tokens", "realtime", "peak_mib")
    rows = [
        (name, str(each["batch"]), *(_number(each[field]) for field in fields), each["failure"] or "")
        for name, found in calls.items()
        for each in found["batches"]
    ]
    return table((*heads, "failure"), rows)


def _files(data: Mapping[str, Any]) -> str:
    fields = ("audio_s", "seconds", "rtf", "utilization", "peak_mib", "unanswered")
    rows = [[_number(each[field]) for field in fields] for each in data["service"]["files"]]
    return table(("one file, s", "time s", "RTF", "GPU utilization", "memory MiB", "unanswered"), rows)


def _loads(
    loads: Iterable[Mapping[str, Any]], first: tuple[str, str] = ("concurrency", "concurrent clips of 30 s")
) -> str:
    """Format one row per load. `first` is the field and heading of the first column."""
    fields = (first[0], "requests_per_s", "realtime", "p50_s", "p95_s", "utilization", "peak_mib", "unanswered")
    heads = (first[1], "requests/s", "× real time", "p50 s", "p95 s", "GPU utilization", "memory MiB", "unanswered")
    return table(heads, ([_number(load[field]) for field in fields] for load in loads))


def _pipeline(found: Mapping[str, Any]) -> str:
    rtf = found["seconds"] / found["audio_s"]
    return f"{found['audio_s']:.0f} s of audio in {found['seconds']:.2f} s, RTF {rtf:.4f}, {found['peak_mib']:.0f} MiB"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
