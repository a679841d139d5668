"""Recordings of every kind through the real decoder child."""

import asyncio
import contextlib
import os
import re
import resource
import signal
import struct
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from faster_whisper.audio import decode_audio

from asr_service.audio import SAMPLE_RATE
from asr_service.decoder.permits import Turns
from asr_service.decoder.pool import DecodedAudio, DecodeLimits, DecoderPool
from asr_service.decoder.sandboxed.child import _Upload
from asr_service.errors import (
    AudioTooLong,
    NotReady,
    RequestError,
    StartupError,
    Unavailable,
    UndecodableAudio,
    UnsupportedAudio,
)
from decoder import media
from decoder.decoding import BLOCK, child_of, decode, decode_in, read_all, server_of, until, upload, with_pool
from decoder.media import FORMS, Form

FLAC, MP3, OPUS, M4A, MKV, ADTS, WMA, ALAC = (
    Form("flac", "flac"),
    Form("mp3", "libmp3lame"),
    Form("ogg", "libopus", 48_000),
    Form("ipod", "aac"),
    Form("matroska", "libopus", 48_000),
    Form("adts", "aac"),
    Form("asf", "wmav2", 44_100),
    Form("ipod", "alac"),
)
MKV_CLUSTER = b"\x1f\x43\xb6\x75"


def likeness(samples: Any, pcm: Any) -> float:
    """Highest correlation of the two at any shift, 1 for the same sound."""
    n = 2 * max(len(samples), len(pcm))
    product = np.fft.rfft(samples, n) * np.conj(np.fft.rfft(pcm / 32768.0, n))
    energy = np.sqrt(np.sum(samples**2.0) * np.sum((pcm / 32768.0) ** 2.0))
    return float(np.fft.irfft(product).max() / energy)


# -- what is taken


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_recording_of_any_form_comes_out_as_its_sound(form):
    """Any container, codec, rate, width and channel count: the sound, at 16 kHz, whole and without a warning."""
    samples, audio = decode(media.encode(form, media.warble(2, form.rate)))
    assert samples.dtype == np.float32
    assert 2 - 0.05 < len(samples) / SAMPLE_RATE < 2 + 0.15  # codecs pad
    assert likeness(samples, media.warble(2)) > 0.95
    assert audio.warnings == ()
    assert audio.n_samples == len(samples)
    assert audio.estimated_duration_s == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize(
    ("data", "seconds"),
    [
        pytest.param(media.nist_sphere(media.warble(1)), 1, id="nist-sphere"),
        pytest.param(media.amr_wideband(50), 1, id="amr-wb"),
        pytest.param(media.gsm(50), 1, id="gsm"),
        pytest.param(media.wav(media.warble(1), announced_bytes=0xFFFF_FFFF), 1, id="wav-of-a-writer-that-streamed"),
        pytest.param(media.wav(media.warble(1), announced_bytes=0x7FFF_FFFF), 1, id="wav-with-a-placeholder"),
        pytest.param(media.wav(media.warble(0)), 0, id="wav-without-samples"),
        pytest.param(media.wav(media.warble(0.05)), 0.05, id="a-twentieth-of-a-second"),
    ],
)
def test_odd_recordings_are_taken_without_a_warning(data, seconds):
    """Forms that nothing here can write, headers that could not be finished, and next to no sound."""
    samples, audio = decode(data)
    assert len(samples) / SAMPLE_RATE == pytest.approx(seconds, abs=0.001)
    assert audio.warnings == ()


@pytest.mark.parametrize("form", [FORMS[0], FORMS[2], FORMS[4], FLAC, MP3, OPUS, M4A, WMA], ids=lambda form: form.name)
def test_the_samples_are_those_of_faster_whisper(form):
    """Bit for bit, so that word error rates can be compared."""
    data = media.encode(form, media.warble(3, form.rate))
    with upload(data) as file:
        file.seek(0)
        assert np.array_equal(decode(data)[0], decode_audio(file))


def test_the_index_of_an_mp4_may_stand_at_its_end():
    """The file is seekable to the decoder: MP4 writers put `moov` last."""
    data = media.encode(M4A, media.warble(2))
    assert data.index(b"moov") > data.index(b"mdat")
    assert likeness(decode(data)[0], media.warble(2)) > 0.95


@pytest.mark.parametrize("n_channels", [3, 9, 32])
def test_any_number_of_channels_is_mixed(n_channels):
    """Layouts that FFmpeg has no rule for are averaged."""
    data = media.wav(np.repeat(media.warble(1), n_channels), n_channels=n_channels)
    assert likeness(decode(data)[0], media.warble(1)) > 0.99


@pytest.mark.parametrize("muxer", ["mp4", "mov", "matroska", "avi"])
def test_a_film_gives_its_sound(muxer):
    """Pictures are passed over, and a film longer than its sound is no damage."""
    form = Form(muxer, "libmp3lame" if muxer == "avi" else "aac", 48_000)
    samples, audio = decode(media.encode_film(muxer, form, media.warble(2, 48_000), n_pictures=40))
    assert likeness(samples, media.warble(2)) > 0.95
    assert audio.warnings == ()


def test_the_file_is_read_from_its_beginning_and_left_where_it_was():
    """The child has a position of its own and cannot write."""
    data = media.wav(media.warble(1))

    async def use(pool: DecoderPool) -> int:
        with upload(data) as file:
            file.seek(1234)
            async with pool.decode(file) as audio:
                n_samples = len(await audio.read(BLOCK))
            assert file.tell() == 1234
            async with pool.decode(file.fileno()) as audio:
                assert len(await audio.read(BLOCK)) == n_samples
            return n_samples

    assert with_pool(use) == SAMPLE_RATE


def test_reads_are_exact_until_the_end():
    """`read` gives what was asked, fewer at the end, and nothing after it."""

    async def use(pool: DecoderPool) -> list[int]:
        with upload(media.wav(media.warble(1))) as file:
            async with pool.decode(file) as audio:
                return [len(await audio.read(7_000)) for _ in range(4)]

    assert with_pool(use) == [7_000, 7_000, 2_000, 0]


# -- what is refused


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(b"", "empty", id="zero-bytes"),
        pytest.param(b"Dear Sir or Madam,\n" * 40, "text", id="text"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + media.noise(400), "PNG", id="image"),
        pytest.param(b"<!DOCTYPE html><html><body>502</body></html>", "web page", id="web-page"),
        pytest.param(b"PK\x03\x04" + media.noise(4000), "ZIP", id="zip"),
        pytest.param(bytes(50_000), "zero bytes", id="zeros"),
        pytest.param(media.warble(1).tobytes(), "raw samples", id="raw-samples"),
        pytest.param(media.encode_film("mp4", None, media.warble(1)), "no audio", id="silent-film"),
        pytest.param(media.encode_film("matroska", None, media.warble(1)), "only video", id="silent-mkv"),
    ],
)
def test_what_is_no_audio_is_refused_by_what_it_is(data, says):
    """415's error, and the message tells what was seen."""
    with pytest.raises(UnsupportedAudio, match=says):
        decode(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(media.encode(M4A, media.warble(2))[:8000], id="mp4-without-its-index"),
        pytest.param(b"fLaC" + media.noise(4000), id="flac-of-noise"),
        pytest.param(media.overwrite(media.encode(ALAC, media.warble(2)), 0.02, 0.95), id="m4a-of-noise"),
        pytest.param(b"RIFF\x24\x00\x00\x00WAVEfmt ", id="wav-cut-in-its-header"),
    ],
)
def test_audio_by_its_looks_that_does_not_decode_is_said_to_be_damaged(data):
    """422's error, not 415's: the caller sent the right kind of file, broken."""
    with pytest.raises(UndecodableAudio):
        decode(data)


@pytest.fixture
def visitors() -> Iterator[tuple[str, list[str]]]:
    """An HTTP server's address, and the requests that came."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_error(404)

        def log_message(self, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()
        thread.join()


DECOYS = {
    "concat": "ffconcat version 1.0\nfile '{file}'\n",
    "concat-of-a-url": "ffconcat version 1.0\nfile '{url}/a.wav'\n",
    "m3u": "#EXTM3U\n{file}\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1,\n{url}/a.ts\n#EXTINF:1,\n{file}\n#EXT-X-ENDLIST\n",
    "dash": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="audio/mp4"><Representation id="1" '
    'bandwidth="1"><BaseURL>{url}/a.mp4</BaseURL><SegmentBase/></Representation></AdaptationSet></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "pls": "[playlist]\nFile1={file}\nNumberOfEntries=1\n",
    "smil": '<smil><body><audio src="{url}/a.wav"/></body></smil>',
}


@pytest.mark.parametrize("kind", DECOYS)
def test_a_file_that_points_elsewhere_touches_nothing(kind, tmp_path, visitors):
    """Playlists, concat scripts, SDP, HLS and DASH are refused; the file and the server they name see no visitor."""
    url, seen = visitors
    canary = tmp_path / "canary.wav"
    canary.write_bytes(media.wav(media.warble(1)))
    os.utime(canary, (0, canary.stat().st_mtime))  # a read would move the time of last access
    with pytest.raises(UnsupportedAudio, match=r"playlist|script|SDP|DASH|XML"):
        decode(DECOYS[kind].format(file=canary, url=url).encode())
    assert seen == []
    assert canary.stat().st_atime == 0


# -- what is damaged


def seconds_in(warning: str) -> list[float]:
    return [float(number) for number in re.findall(r"(\d+\.\d+) s", warning)]


@pytest.mark.parametrize(
    ("form", "least_s"), [(FLAC, 1.5), (MP3, 1.5), (OPUS, 1.0), (M4A, 1.5), (ADTS, 1.5), (MKV, 1.5)], ids=str
)
def test_damage_in_the_middle_costs_the_middle(form, least_s):
    """What comes after the damage is decoded too, and the warning says how much is lost, and where."""
    data = media.encode(form, media.warble(40, form.rate))
    samples, audio = decode(media.overwrite(data, 0.5, 0.55))
    lost_s, at_s = seconds_in(audio.warnings[0])
    assert "could not be decoded" in audio.warnings[0]
    assert lost_s == pytest.approx(40 - len(samples) / SAMPLE_RATE, abs=0.7)
    assert lost_s == pytest.approx(audio.lost_s, abs=0.06)
    assert least_s < lost_s < 12
    assert at_s == pytest.approx(20, abs=6)
    assert likeness(samples[-5 * SAMPLE_RATE :], media.warble(40)) > 0.3  # five seconds of a sound of forty


@pytest.mark.parametrize("form", [FORMS[0], FORMS[11], FLAC, MP3, MKV], ids=lambda form: form.name)
def test_a_file_cut_short_says_what_it_announced(form):
    """What is there comes, with a warning that tells both lengths."""
    data = media.encode(form, media.warble(30, form.rate))
    samples, audio = decode(data[: int(0.4 * len(data))])
    estimated_duration_s, present_s = seconds_in(audio.warnings[0])
    assert len(audio.warnings) == 1
    assert "ends early" in audio.warnings[0]
    assert estimated_duration_s == pytest.approx(30, abs=0.2)
    assert present_s == pytest.approx(len(samples) / SAMPLE_RATE, abs=0.1)
    assert present_s == pytest.approx(12, abs=2)


def test_an_ogg_cut_short_says_so():
    """OGG announces no length; the page that is cut through tells."""
    data = media.encode(OPUS, media.warble(30, 48_000))
    assert "ends early" in decode(data[: int(0.4 * len(data))])[1].warnings[0]


@pytest.mark.parametrize("offset", [-1, 2**62])
def test_a_seek_to_no_place_in_any_file_is_an_error_code(offset):
    """Where damaged headers lead: FFmpeg is told by a negative position, and the child does not end by an exception."""
    with upload(media.wav(media.warble(1))) as file:
        upload_of_child = _Upload(file.fileno())
        assert upload_of_child.seek(offset) < 0
        assert upload_of_child.seek(10) == 10


def test_flipped_bits_give_audio_or_a_request_error():
    """Nothing else, whatever the bytes: the pool and this process live on."""
    wholes = [media.encode(form, media.warble(1, form.rate)) for form in (FLAC, MP3, OPUS, M4A, MKV, WMA, ADTS)]
    rng = np.random.default_rng(7)

    async def one(pool: DecoderPool, data: bytes) -> None:
        with contextlib.suppress(RequestError):
            await decode_in(pool, data)

    async def use(pool: DecoderPool) -> Any:
        for whole in wholes * 4:
            flipped = bytearray(whole)
            for at in rng.integers(0, len(whole), 1 + len(whole) // 200):
                flipped[at] ^= 1 << int(rng.integers(8))
            await one(pool, bytes(flipped))
        return await decode_in(pool, wholes[0])

    assert len(with_pool(use)[0]) == SAMPLE_RATE


# -- what a file may cost


def test_a_bomb_stops_at_the_limit():
    """An hour of silence in 0.7 MB, with and without its length in the header, is refused by the limit's name."""
    whole = media.encode(FLAC, np.zeros(3600 * SAMPLE_RATE, np.int16))
    assert len(whole) < 1_000_000
    without_length = whole[:21] + bytes([whole[21] & 0xF0]) + bytes(4) + whole[26:]  # STREAMINFO's total samples
    for data in (whole, without_length):
        with pytest.raises(AudioTooLong, match="limit of 60 s"):
            decode(data, DecodeLimits(max_audio_s=60))


def test_decoded_bytes_are_counted_in_the_files_own_form():
    """Many channels and a high rate cost more than their seconds."""
    data = media.encode(Form("wav", "pcm_f32le", 48_000, 6), media.warble(1, 48_000))
    with pytest.raises(AudioTooLong, match="limit of 1000000 bytes"):
        decode(data, DecodeLimits(max_audio_s=60, max_decoded_bytes=1_000_000))


def test_processor_time_is_limited():
    """A file that computes for longer than its size explains ends as one request's error."""
    limits = DecodeLimits(max_audio_s=10**6, cpu_floor_s=1, cpu_s_per_mib=0)

    async def use(pool: DecoderPool) -> None:
        with upload(media.wav(media.warble(0), 192_000, announced_bytes=2**31 - 2**20)) as file:
            file.truncate(2**31 - 2**20)  # silence that takes no disk
            async with pool.decode(file) as audio:
                await read_all(audio)

    with pytest.raises(UndecodableAudio, match="processor time"):
        with_pool(use, limits)


@pytest.mark.parametrize("write", [media.wav, media.nist_sphere])
@pytest.mark.parametrize("rate", [1, 3, 999])
def test_a_rate_too_low_for_speech_is_refused_at_once(write, rate):
    """200 kB at 1 Hz are a day, and gigabytes at 16 kHz: nothing is made of them."""
    with pytest.raises(UndecodableAudio, match=f"rate of {rate} Hz.* 1000 Hz at least"):
        decode(write(np.zeros(100_000, np.int16), rate), DecodeLimits(max_audio_s=10**6))


def test_frames_of_such_a_rate_are_passed_over():
    """A recording may change its rate on the way: what follows its two seconds would be a quarter of an hour."""
    two_s, slow = (
        media.encode(Form("ogg", "flac", rate), media.warble(s, rate)) for s, rate in ((2, 16_000), (1000, 3))
    )
    assert len(decode(two_s + slow)[0]) == 2 * SAMPLE_RATE


def test_the_lowest_rate_is_taken():
    assert len(decode(media.wav(media.warble(2, 1000), 1000))[0]) == pytest.approx(2 * SAMPLE_RATE, abs=200)


@pytest.mark.parametrize("bomb", ["a rate of 2 GHz", "a packet of 184 MB"])
def test_memory_is_limited(bomb):
    """A file that asks for more memory than a child has ends as one request's error, and the next one is served."""
    whole = media.encode(MKV, media.warble(1, 48_000))
    packet = b"\xe7\x81\x00" + b"\xa3\x1b\x00\x00\x00" + b"\x81\x00\x00\x80"
    matroska = whole[: whole.index(MKV_CLUSTER)] + MKV_CLUSTER + b"\x01" + b"\xff" * 7 + packet
    data, size = (matroska, 200 * 2**20) if "packet" in bomb else (media.wav(media.warble(1), 2**31 - 1), 20_000)

    async def use(pool: DecoderPool) -> int:
        with upload(data) as file:
            file.truncate(size)
            async with pool.decode(file) as audio:
                with pytest.raises(UndecodableAudio, match="memory" if "rate" in bomb else "nothing of it"):
                    await read_all(audio)
        return len((await decode_in(pool, whole))[0])

    limits = DecodeLimits(max_audio_s=3600, memory_bytes=200 * 2**20)
    assert with_pool(use, limits) == pytest.approx(SAMPLE_RATE, abs=2_000)


# -- children that come and go


class TakenOver:
    """A child that a file has made its own: it says what it likes."""

    pid = 1

    def __init__(self, *frames: tuple[bytes, bytes]) -> None:
        self._frames = iter(frames)

    async def receive(self) -> tuple[bytes, bytes]:
        return next(self._frames)


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        pytest.param([(b"S", bytes(64_000))] * 3, AudioTooLong, id="samples-without-end"),
        pytest.param([(b"S", bytes(64)), (b"O", b"{}")], UndecodableAudio, id="nonsense"),
        pytest.param([(b"S", bytes(64)), (b"O", b"[" * 60_000)], UndecodableAudio, id="nonsense-that-is-deep"),
        pytest.param(
            [(b"O", b'{"verdict": "unsupported", "message": "\\ud800", "warnings": [], "lost_s": 0}')],
            UndecodableAudio,
            id="half-a-letter",
        ),
        pytest.param([(b"S", b"")], UndecodableAudio, id="no-samples"),
        pytest.param([(b"S", b"\0")], UndecodableAudio, id="half-samples"),
        pytest.param([(b"L", struct.pack("<d", 1))] * 2, UndecodableAudio, id="two-lengths"),
        pytest.param([(b"R", b"")], UndecodableAudio, id="out-of-turn"),
        pytest.param([(b"L", bytes(4))], UndecodableAudio, id="no-length"),
        pytest.param([(b"L", struct.pack("<d", float("nan")))], UndecodableAudio, id="not-a-length"),
    ],
)
def test_a_child_that_was_taken_over_costs_one_request(frames, error):
    """The service counts for itself and believes nothing: the error is the file's, again on each read."""

    async def start() -> Any:
        return TakenOver(*frames)

    audio = DecodedAudio(start, Turns(1), DecodeLimits(max_audio_s=5))
    for _ in range(2):
        with pytest.raises(error):
            asyncio.run(audio.read(10 * SAMPLE_RATE))


def test_a_child_killed_midway_costs_one_request():
    """422's error for that file; the next one finds another child."""
    long = media.wav(media.warble(60))

    async def use(pool: DecoderPool) -> int:
        with upload(long) as file:
            async with pool.decode(file) as audio:
                await audio.read(BLOCK)
                os.kill(child_of(audio), signal.SIGKILL)
                with pytest.raises(UndecodableAudio, match="SIGKILL"):
                    await read_all(audio)
        return len((await decode_in(pool, long))[0])

    assert with_pool(use) == 60 * SAMPLE_RATE


def test_a_hung_child_is_given_up():
    """No progress for `stall_s` while somebody waits: 422's error, and the child is gone."""

    async def use(pool: DecoderPool) -> None:
        with upload(media.wav(media.warble(60))) as file:
            async with pool.decode(file) as audio:
                await audio.read(100)
                os.kill(child_of(audio), signal.SIGSTOP)
                with pytest.raises(UndecodableAudio, match="no progress"):
                    await read_all(audio)
        await until(lambda: not psutil.pid_exists(child_of(audio)))

    with_pool(use, DecodeLimits(max_audio_s=3600, stall_s=0.5))


def test_a_reader_may_take_its_time():
    """A child held up by its reader is not hung: only waiting counts, and the child waits without computing."""

    async def use(pool: DecoderPool) -> tuple[int, float]:
        with upload(media.wav(media.warble(120))) as file:
            async with pool.decode(file) as audio:
                first = await audio.read(100)
                before_s = audio.decode_s
                await asyncio.sleep(1.0)  # twice the child's deadline: the silence is the test
                cpu_s = sum(psutil.Process(child_of(audio)).cpu_times()[:2])
                rest = await audio.read(120 * SAMPLE_RATE)
                assert before_s < 0.9
                return len(first) + len(rest), cpu_s

    n_samples, cpu_s = with_pool(use, DecodeLimits(max_audio_s=3600, stall_s=0.5))
    assert n_samples == 120 * SAMPLE_RATE
    assert cpu_s < 0.9


@pytest.mark.parametrize("way", ["leaves", "fails", "is cancelled"])
def test_no_child_outlives_its_context(way):
    """However the reader goes, its child is killed when the context is left, and then collected."""
    pids: list[int] = []

    async def reader(pool: DecoderPool) -> None:
        with upload(media.wav(media.warble(120))) as file:
            async with pool.decode(file) as audio:
                await audio.read(100)
                pids.append(child_of(audio))
                if way == "fails":
                    raise ZeroDivisionError
                if way == "is cancelled":
                    os.kill(pids[0], signal.SIGSTOP)
                    await audio.read(120 * SAMPLE_RATE)

    async def use(pool: DecoderPool) -> None:
        task = asyncio.create_task(reader(pool))
        if way == "is cancelled":
            await until(lambda: pids and psutil.Process(pids[0]).status() == psutil.STATUS_STOPPED)
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until(lambda: not psutil.pid_exists(pids[0]))

    with_pool(use)


def directories() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("asr-decoder-*"))


def test_a_hundred_decodes_leave_nothing_behind():
    """No descriptor, no process, no directory."""
    data = media.wav(media.warble(0.1))
    present = directories()

    async def use(pool: DecoderPool) -> tuple[int, int, psutil.Process]:
        await decode_in(pool, data)
        server = server_of(pool)
        before = psutil.Process().num_fds()
        for _ in range(25):
            await asyncio.gather(*(decode_in(pool, data) for _ in range(4)))
        await until(lambda: not server.children() and directories() <= present)
        return before, psutil.Process().num_fds(), server

    before, after, server = with_pool(use)
    assert after <= before
    assert not server.is_running()


def test_more_files_at_once_than_places():
    """They wait their turn, and each has its own samples."""

    async def use(pool: DecoderPool) -> list[int]:
        results = await asyncio.gather(*(decode_in(pool, media.wav(media.warble(1 + i))) for i in range(4)))
        return [len(samples) // SAMPLE_RATE for samples, _ in results]

    assert with_pool(use, at_once=1) == [1, 2, 3, 4]


def test_a_long_recording_takes_no_place_while_its_reader_is_busy():
    """A transcription of hours holds its child for hours; others decode meanwhile, with a single place for all."""
    long, short = media.wav(media.warble(120)), media.wav(media.warble(1))

    async def use(pool: DecoderPool) -> int:
        with upload(long) as file:
            async with pool.decode(file) as audio:
                n_samples = len(await audio.read(BLOCK))
                assert len((await decode_in(pool, short))[0]) == SAMPLE_RATE
                return n_samples + len(await read_all(audio))

    assert with_pool(use, at_once=1) == 120 * SAMPLE_RATE


@pytest.mark.parametrize("fault", ["no interpreter", "one that fails", "no memory"])
def test_a_pool_whose_server_does_not_start_says_so(fault, monkeypatch):
    """A start failure is the operator's to mend: StartupError, at once, with nothing left running."""
    programs = {"no interpreter": "/nowhere/python", "one that fails": "/bin/false"}
    monkeypatch.setattr("sys.executable", programs.get(fault, sys.executable))
    memory_bytes = 2**20 if fault == "no memory" else 2**30
    before = set(psutil.Process().children())
    with pytest.raises(StartupError, match="decoder"):
        with_pool(lambda _: asyncio.sleep(0), DecodeLimits(max_audio_s=60, memory_bytes=memory_bytes))
    assert set(psutil.Process().children()) <= before


def test_a_file_that_cannot_be_opened_once_more_is_told_as_unavailable():
    """Too many open files are not the caller's fault, nor for ever."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def use(pool: DecoderPool) -> None:
        with upload(media.wav(media.warble(1))) as file:
            resource.setrlimit(resource.RLIMIT_NOFILE, (file.fileno() + 1, limit[1]))
            try:
                with pytest.raises(Unavailable, match="Too many open files"):
                    async with pool.decode(file):
                        pass
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limit)

    with_pool(use)


def test_a_closed_pool_takes_no_file():
    """NotReady, and no process is started."""

    async def use(pool: DecoderPool) -> None:
        await pool.close()
        with pytest.raises(NotReady):
            await decode_in(pool, media.wav(media.warble(1)))

    with_pool(use)


def test_what_is_being_decoded_when_the_pool_closes_gets_an_answer():
    """Unavailable's error; nobody waits for samples that will not come."""

    async def use(pool: DecoderPool) -> None:
        with upload(media.wav(media.warble(120))) as file:
            async with pool.decode(file) as audio:
                await audio.read(100)
                os.kill(child_of(audio), signal.SIGSTOP)
                reading = asyncio.create_task(audio.read(120 * SAMPLE_RATE))
                await asyncio.sleep(0)
                await pool.close()
                with pytest.raises(Unavailable):
                    await reading

    with_pool(use)
