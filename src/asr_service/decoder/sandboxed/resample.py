"""Frames of any rate, width and layout into 16 kHz mono s16le, the way `faster_whisper.audio.decode_audio` does it."""

from collections.abc import Iterator
from typing import Final

import av
from av.audio.frame import AudioFrame
from av.filter import Graph

from asr_service.audio import SAMPLE_RATE
from asr_service.decoder.protocol import BYTES_PER_SAMPLE

# A call of the filter costs more than the samples of one small frame: about a second at a time, less of odd rates.
_GROUP_SAMPLES: Final = 48_000


class Resampler:
    """Takes frames as they come; a recording may change its form on the way (chained OGG, a repaired MP3)."""

    def __init__(self) -> None:
        self._form: tuple[str, str, int] | None = None
        self._fifo = av.AudioFifo()
        self._graph: Graph | None = None

    def push(self, frame: AudioFrame) -> Iterator[bytes]:
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self._form:
            yield from self.flush()
            self._form = form
        frame.pts = None  # or the queue insists on timestamps without holes
        self._fifo.write(frame)
        if self._fifo.samples >= _GROUP_SAMPLES:
            yield from self._convert_queued()

    def flush(self) -> Iterator[bytes]:
        """The rest, with the filter's own tail."""
        yield from self._convert_queued()
        if self._graph is not None:
            self._graph.push(None)
            yield from _drain(self._graph)
        self._fifo, self._graph, self._form = av.AudioFifo(), None, None

    def _convert_queued(self) -> Iterator[bytes]:
        frame = self._fifo.read()
        if frame is None:
            return
        if self._form == ("s16", "mono", SAMPLE_RATE):
            yield _samples(frame)
            return
        if self._graph is None:
            self._graph = _build_graph(frame)
        self._graph.push(frame)
        yield from _drain(self._graph)


def _build_graph(frame: AudioFrame) -> Graph:
    """FFmpeg mixes the layouts that it knows; of others (9 channels, 32) the mean is taken."""
    try:
        return _connect(frame)
    except av.error.ArgumentError:
        n = frame.layout.nb_channels
        return _connect(frame, "pan", "mono|c0=" + "+".join(f"{1 / n:.6f}*c{i}" for i in range(n)))


def _connect(frame: AudioFrame, *mixing: str) -> Graph:
    """What av.AudioResampler builds, on one thread: the sandbox lets no thread be started."""
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
    form = graph.add("aformat", sample_rates=str(SAMPLE_RATE), sample_fmts="s16", channel_layouts="mono")
    graph.link_nodes(source, *mixer, form, graph.add("abuffersink")).configure()
    return graph


def _drain(graph: Graph) -> Iterator[bytes]:
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):  # nothing yet; nothing more
            return
        assert isinstance(frame, AudioFrame)  # noqa: S101 - the graph has no pictures
        yield _samples(frame)


def _samples(frame: AudioFrame) -> bytes:
    """A plane is padded past its samples."""
    return bytes(frame.planes[0])[: frame.samples * BYTES_PER_SAMPLE]
