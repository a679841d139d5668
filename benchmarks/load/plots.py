"""Plot one run: throughput, latency under an offered load, stages, and accuracy against speed."""

import statistics
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.common.servers import SERVERS, SERVICE
from benchmarks.load.results import Results, total

_COLOURS = dict(zip(SERVERS, ("tab:green", "tab:gray", "tab:brown", "tab:orange"), strict=True))


def plot(results: Results, path: Path) -> None:
    """Write one PNG. A plot without measurements stays empty."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
    _throughput(axes[0][0], results)
    _latency(axes[0][1], results)
    _stages(axes[1][0], results)
    _accuracy(axes[1][1], results)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _throughput(axes: Axes, results: Results) -> None:
    found = {int(name[6:]): rounds for name, rounds in results.rounds.items() if name[:6] == "clip c"}
    found |= {1: results.rounds["solo"]} if "solo" in results.rounds else {}
    axes.set(title="One clip, closed loop", xlabel="concurrent requests", ylabel="requests/s")
    for server, colour in _COLOURS.items():
        points = sorted(
            (at, statistics.median(turn[server].requests_per_s for turn in rounds))
            for at, rounds in found.items()
            if server in rounds[0]
        )
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", color=colour, label=server)
            axes.legend()
    axes.set_ylim(bottom=0)


def _latency(axes: Axes, results: Results) -> None:
    axes.set(title="The service, open loop", xlabel="offered load / capacity", ylabel="latency, s")
    found = {float(name[5:]): rounds[0][SERVICE] for name, rounds in results.rounds.items() if name[:5] == "open "}
    for percentile in ("p50_s", "p95_s", "p99_s"):
        if found:
            axes.plot(list(found), [getattr(each, percentile) for each in found.values()], marker="o", label=percentile)
            axes.legend()


def _stages(axes: Axes, results: Results) -> None:
    shown = {name: seconds for name, seconds in results.stages.items() if name != "request" and seconds > 0}
    names = sorted(shown, key=lambda name: shown[name])
    axes.barh(names, [shown[name] for name in names], color=_COLOURS[SERVICE])
    axes.set(
        title="The service's stages at the highest concurrency", xlabel="s per request (queue: waiting)", xscale="log"
    )


def _accuracy(axes: Axes, results: Results) -> None:
    axes.set(title="Mixed clips: errors against speed", xlabel="× real time", ylabel="word error rate, %")
    turn = results.rounds.get("mixed", [{}])[0]
    for server, measure in turn.items():
        axes.scatter(measure.audio_s_per_s, 100 * total(measure.errors).rate, color=_COLOURS[server], label=server)
    if turn:
        axes.set_ylim(0, 120 * max(total(measure.errors).rate for measure in turn.values()))
        axes.legend()
