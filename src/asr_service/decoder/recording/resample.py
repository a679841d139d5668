"""Resamples frames of any rate, width and layout to 16 kHz mono s16le, as `faster_whisper.audio.decode_audio` does.

Where the mix of the channels would cancel, one channel is taken instead.
"""

from collections.abc import Iterator
from typing import Final

import av
from av.audio.frame import AudioFrame
from av.filter import Graph

from asr_service.audio import SAMPLE_RATE
from asr_service.decoder.protocol import BYTES_PER_SAMPLE
from asr_service.decoder.recording.mixing import Mixing

# A call of the filter costs more than resampling one small frame, so frames are grouped. A second at 48 kHz.
_GROUP_SAMPLES: Final = 48_000


class Resampler:
    """Resamples one frame after another. The format may change within a recording (chained OGG, a repaired MP3)."""

    def __init__(self) -> None:
        self._format: tuple[str, str, int] | None = None
        self._fifo = av.AudioFifo()
        self._graph: Graph | None = None
        self._mixing = Mixing()

    def push(self, frame: AudioFrame) -> Iterator[bytes]:
        """Add a frame. Yields the samples that are ready."""
        audio_format = (frame.format.name, frame.layout.name, frame.sample_rate)
        if audio_format != self._format:
            yield from self.flush()
            self._format = audio_format
        frame.pts = None  # otherwise the queue requires timestamps without gaps
        self._fifo.write(frame)
        if self._fifo.samples >= _GROUP_SAMPLES:
            yield from self._convert_queued()

    def flush(self) -> Iterator[bytes]:
        """Yield the remaining samples, those inside the filter included. Resets the resampler."""
        yield from self._convert_queued()
        yield from self._end_graph()
        self._fifo, self._format = av.AudioFifo(), None

    def _convert_queued(self) -> Iterator[bytes]:
        frame = self._fifo.read()
        if frame is None:
            return
        if self._format == ("s16", "mono", SAMPLE_RATE):
            yield _samples(frame)
            return
        channel = self._mixing.channel
        self._mixing.decide(frame)
        if self._mixing.channel != channel:
            yield from self._end_graph()
        if self._graph is None:
            self._graph = _build_graph(frame, self._mixing.channel)
        self._graph.push(frame)
        yield from _drain(self._graph)

    def _end_graph(self) -> Iterator[bytes]:
        graph, self._graph = self._graph, None
        if graph is not None:
            graph.push(None)
            yield from _drain(graph)


def _build_graph(frame: AudioFrame, channel: int | None) -> Graph:
    """Return a graph that takes one channel or, if it is None, mixes to mono.

    Layouts unknown to FFmpeg (9 channels, 32) are averaged.
    """
    if channel is not None:
        return _connect(frame, "pan", f"mono|c0=c{channel}")
    try:
        return _connect(frame)
    except av.error.ArgumentError:
        n = frame.layout.nb_channels
        return _connect(frame, "pan", "mono|c0=" + "+".join(f"{1 / n:.6f}*c{i}" for i in range(n)))


def _connect(frame: AudioFrame, *mixing: str) -> Graph:
    """Build the graph of av.AudioResampler, but on one thread: the sandbox does not allow threads."""
    graph = Graph()
    graph.threads = 1
    source = graph.add(
        "abuffer",
        sample_rate=str(frame.sample_rate),
        sample_fmt=frame.format.name,
        channel_layout=frame.layout.name,
        time_base=f"1/{frame.sample_rate}",
    )
    mixer = [graph.add(*mixing)] if mixing else []
    target = graph.add("aformat", sample_rates=str(SAMPLE_RATE), sample_fmts="s16", channel_layouts="mono")
    graph.link_nodes(source, *mixer, target, graph.add("abuffersink")).configure()
    return graph


def _drain(graph: Graph) -> Iterator[bytes]:
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):  # no frame is ready, or the end
            return
        assert isinstance(frame, AudioFrame)  # noqa: S101 - the graph has no video
        yield _samples(frame)


def _samples(frame: AudioFrame) -> bytes:
    """Return the frame's samples without the padding of its plane."""
    return bytes(frame.planes[0])[: frame.samples * BYTES_PER_SAMPLE]
