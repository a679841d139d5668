"""The GPU benchmark's numbers as a page, with the goals beside them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_FIVE_MINUTES_S = (290.0, 340.0)


def markdown(data: Mapping[str, Any]) -> str:
    parts = ["# On a GPU", "\n".join(f"- {key}: {value}" for key, value in data["about"].items())]
    if data["tiny"]:
        parts.append("**A toy model on a CPU: this shows that the script runs, and no speed.**")
    parts += ["## Goals", _table(("goal", "wanted", "seen", "met"), goals(data))]
    parts += ["## The model's calls, full windows, beam 5", _calls(data)]
    parts += [f"## The service, {data['fastest']}", _files(data), _crowds(data["service"]["crowds"])]
    windows = data["service"]["windows"]
    parts.append(f"{windows['tokens']:.0f} tokens a window; {windows['anew']:.0f} decoded anew.")
    parts += ["## Two workers on the one device", _crowds(data["two workers"])]
    parts += ["## faster-whisper's BatchedInferencePipeline, batch 16", _pipeline(data)]
    parts += ["## Out of memory on purpose", str(data["out of memory"] or "not tried: it takes a GPU")]
    return "\n\n".join(parts) + "\n"


def goals(data: Mapping[str, Any]) -> list[Sequence[str]]:
    """What is wanted of an H100, and what was seen."""
    crowds, files = data["service"]["crowds"], data["service"]["files"]
    best = max(crowds, key=lambda crowd: crowd["realtime"])
    gib = [
        (each["peak_mib"] - data["memory before, MiB"]) / 1024
        for each in data["calls"][data["fastest"]]["batches"]
        if each["batch"] == 16
    ]
    five = [each["rtf"] for each in files if _FIVE_MINUTES_S[0] <= each["audio_s"] <= _FIVE_MINUTES_S[1]]
    shown = [
        _goal("× real time in all", best["realtime"], "≥ 200", best["realtime"] >= 200),
        _goal("GiB at batch 16", gib[0] if gib else None, "< 4.5", bool(gib) and gib[0] < 4.5),
        _goal("GPU busy under load", best["busy"], "> 0.9", (best["busy"] or 0) > 0.9),
        _goal("RTF of one 5 min file", five[0] if five else None, "≤ 0.02", bool(five) and five[0] <= 0.02),
    ]
    return [(*each[:3], "no GPU") for each in shown] if data["tiny"] else shown


def _goal(what: str, seen: float | None, wanted: str, met: bool) -> Sequence[str]:
    return what, wanted, _number(seen), "not seen" if seen is None else "yes" if met else "no"


def _calls(data: Mapping[str, Any]) -> str:
    heads = ("precision", "batch", "encode s", "generate s", "tokens a window", "× real time", "memory MiB")
    rows = [
        (name, str(each["batch"]), *(_number(each[field]) for field in fields), each["failure"] or "")
        for name, found in data["calls"].items()
        for each in found["batches"]
        for fields in [("encode_s", "generate_s", "n_tokens", "realtime", "peak_mib")]
    ]
    return _table((*heads, "failure"), rows)


def _files(data: Mapping[str, Any]) -> str:
    fields = ("audio_s", "seconds", "rtf", "busy", "peak_mib", "unanswered")
    rows = [[_number(each[field]) for field in fields] for each in data["service"]["files"]]
    return _table(("one file, s", "took s", "RTF", "GPU busy", "memory MiB", "unanswered"), rows)


def _crowds(crowds: Iterable[Mapping[str, Any]]) -> str:
    fields = ("concurrency", "requests_per_s", "realtime", "p50_s", "p95_s", "busy", "peak_mib", "unanswered")
    heads = (
        "30 s clips at a time",
        "requests/s",
        "× real time",
        "p50 s",
        "p95 s",
        "GPU busy",
        "memory MiB",
        "unanswered",
    )
    return _table(heads, ([_number(crowd[field]) for field in fields] for crowd in crowds))


def _pipeline(data: Mapping[str, Any]) -> str:
    found = data["pipeline"]
    rtf = found["seconds"] / found["audio_s"]
    took = f"{found['audio_s']:.0f} s of audio in {found['seconds']:.2f} s, RTF {rtf:.4f}"
    return f"{took}, {found['peak_mib']:.0f} MiB"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [heads, ["---"] * len(heads), *rows])
