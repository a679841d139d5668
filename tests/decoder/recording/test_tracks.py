"""Files with several tracks: video, subtitles, data, attachments and more than one audio track."""

import io
import re
import struct
from collections.abc import Callable
from typing import Any

import av
import pytest

from asr_service.decoder.pool import DecoderPool
from asr_service.decoder.recording.demuxer import read_packets
from asr_service.errors import InvalidParameter, UndecodableAudio, UnsupportedAudio
from decoder import media
from decoder.decoding import decode, read_all, sentences, similarity, upload, with_pool
from decoder.ffmpeg import video
from decoder.media import M4A, WMA, Format

pytestmark = pytest.mark.needs_program("ffmpeg")
Write = Callable[..., bytes]
TONE, OTHER = media.warble(3), media.warble(3)[::-1].copy()


def decode_track(data: bytes, track: str) -> tuple[Any, tuple[str, ...]]:
    async def use(pool: DecoderPool) -> tuple[Any, tuple[str, ...]]:
        with upload(data) as file:
            async with pool.decode(file, track) as audio:
                return await read_all(audio), sentences(audio.warnings)

    samples, warnings = with_pool(use)
    return samples, warnings


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("s.mp4", "mov_text"),
        ("s.m4a", "mov_text"),
        ("s.mov", "mov_text"),
        ("s.mkv", "subrip"),
        ("s.mkv", "ass"),
        ("s.mkv", "webvtt"),
        ("s.webm", "webvtt"),
    ],
)
def test_a_file_with_subtitles_is_decoded(write, name, codec):
    """A subtitle track needs no import that the sealed child could not make."""
    audio = ("-c:a", "libopus") if name.endswith("webm") else ("-c:a", "aac")
    muxer = ("-f", "mp4") if name.endswith("m4a") else ()
    data = write("-i", "a.wav", "-i", "s.srt", "-map", "0", "-map", "1", *audio, "-c:s", codec, *muxer, name=name)
    samples, decoded = decode(data)
    assert similarity(samples, TONE) > 0.95
    assert sentences(decoded.warnings) == ()


@pytest.mark.parametrize("name", ["all.mkv", "all.mov", "all.ts"])
def test_a_file_with_a_stream_of_every_type_is_decoded(write, name):
    """Video, audio, subtitles, chapters and, in Matroska, an attachment; a time code or data elsewhere."""
    extra = {
        "all.mkv": ("-c:s", "ass", "-attach", "s.srt", "-metadata:s:t", "mimetype=text/plain"),
        "all.mov": ("-c:s", "mov_text", "-timecode", "01:00:00:00"),
        "all.ts": ("-sn", "-metadata:s:v", "language=eng"),
    }[name]
    inputs = (*video(3), "-i", "a.wav", "-i", "s.srt", "-i", "c.txt", "-map", "0", "-map", "1", "-map", "2")
    data = write(*inputs, "-map_metadata", "3", "-c:v", "mpeg4", "-c:a", "aac", *extra, name=name)
    samples, decoded = decode(data)
    assert similarity(samples, TONE) > 0.95
    assert sentences(decoded.warnings) == ()


def two_tracks(
    write: Write,
    first: str = "comment",
    second: str = "default",
    name: str = "two.mkv",
    codecs: tuple[str, str] = ("aac", "aac"),
) -> bytes:
    return write(
        *("-i", "a.wav", "-i", "b.wav", "-map", "0", "-map", "1", "-c:a:0", codecs[0], "-c:a:1", codecs[1]),
        *("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=ger", "-metadata:s:a:1", "title=Deutsch"),
        *("-disposition:a:0", first, "-disposition:a:1", second, "-strict", "experimental"),
        name=name,
    )


@pytest.mark.parametrize("name", ["two.mkv", "two.mp4"])
def test_the_default_track_is_decoded(write, name):
    """Players choose the track that is marked as default. The warning lists all and names the one that was used."""
    samples, decoded = decode(two_tracks(write, name=name))
    assert similarity(samples, OTHER) > 0.95
    (warning,) = sentences(decoded.warnings)
    assert "2 audio tracks: 1 (eng, aac), 2 (ger" in warning
    assert "Track 2 was used; audio_track chooses another." in warning


def test_the_first_track_is_decoded_if_none_is_marked(write):
    samples, decoded = decode(two_tracks(write, "0", "0"))
    assert similarity(samples, TONE) > 0.95
    assert "Track 1 was used" in sentences(decoded.warnings)[0]


@pytest.mark.parametrize("track", ["1", "eng", "ENG", "en,eng"])
def test_a_track_can_be_chosen(write, track):
    """By its number, from 1, or by its language."""
    samples, warnings = decode_track(two_tracks(write), track)
    assert similarity(samples, TONE) > 0.95
    assert "Track 1 was used" in warnings[0]


@pytest.mark.parametrize("track", ["3", "0", "fra"])
def test_a_track_that_is_not_there_is_an_invalid_parameter(write, track):
    """The message lists the tracks that are there."""
    with pytest.raises(InvalidParameter, match=r"It has 2: 1 \(eng, aac\), 2 \(ger") as caught:
        decode_track(two_tracks(write), track)
    assert caught.value.param == "audio_track"


def test_a_track_that_is_supported_is_decoded_instead(write):
    """The first track, RealAudio, is not on the list of codecs. The warning says why the second was used."""
    data = two_tracks(write, "default", "0", codecs=("real_144", "aac"), name="ra.mkv")
    samples, decoded = decode(data)
    assert similarity(samples, OTHER) > 0.95
    assert "Track 2 was used, because the codec of track 1 is not supported." in sentences(decoded.warnings)[0]
    with pytest.raises(UnsupportedAudio, match=r"codec .* is not supported"):
        decode_track(data, "1")


def test_encrypted_packets_are_refused(write):
    """The message does not call the file damaged, since exporting it again would not help."""
    key = "00112233445566778899aabbccddeeff"
    data = write(
        "-i", "a.wav", "-c:a", "aac", "-encryption_scheme", "cenc-aes-ctr", "-encryption_key", key,
        "-encryption_kid", key, name="a.mp4",
    )  # fmt: skip
    with pytest.raises(UnsupportedAudio, match="encrypted"):
        decode(data)


@pytest.mark.parametrize("tag", [b"drms", b"aavd", b"enca"])
def test_an_encrypted_track_of_mp4_is_refused(tag):
    """The name of its codec says so: music of iTunes, books of Audible, films."""
    with pytest.raises(UnsupportedAudio, match="encrypted"):
        decode(media.encode(M4A, TONE).replace(b"mp4a", tag))


def test_an_encrypted_track_of_webm_is_refused():
    """It has a key instead of a track UID here, so that no size changes."""
    ids = re.compile(rb's\xc5\x88.{8}\x9c\x81\x00"\xb5\x9c\x83und', re.DOTALL)
    encryption = bytes.fromhex("6d808e 62408b 50338101 503584 47e28141 ec820000")
    data, n = ids.subn(encryption, media.encode(Format("webm", "libopus", 48_000), TONE))
    assert n == 1
    with pytest.raises(UnsupportedAudio, match="encrypted"):
        decode(data)


def test_an_encrypted_wma_file_is_refused():
    """Its header has an object with the key. ASF specification, section 3.14."""
    data = media.encode(WMA, media.warble(3, WMA.rate))
    n_bytes, n_objects = struct.unpack_from("<QI", data, 16)
    key = bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e") + struct.pack("<QIIIII", 44, 0, 0, 0, 0, 0)
    header = data[:16] + struct.pack("<QI", n_bytes + len(key), n_objects + 1) + data[28:30] + key
    with pytest.raises(UnsupportedAudio, match="encrypted"):
        decode(header + data[30:])


def _flv_before_audio(data: bytes, filler: bytes) -> bytes:
    """Insert something before the first audio tag of an FLV file."""
    at = 13
    while data[at] != 8:  # the type of audio
        at += 11 + int.from_bytes(data[at + 1 : at + 4], "big") + 4
    return data[:at] + filler + data[at:]


def _ps_before_audio(data: bytes, filler: bytes) -> bytes:
    """Insert something before the pack of the first MP2 packet of an MPEG program stream."""
    at = data.rindex(b"\x00\x00\x01\xba", 0, data.index(b"\x00\x00\x01\xc0"))
    return data[:at] + filler + data[at:]


FLV_VIDEO = b"\x09\x0f\x00\x00" + bytes(7) + b"\x22" + bytes(0x0F_0000 - 1) + (0x0F_0000 + 11).to_bytes(4, "big")
PS_VIDEO = b"\x00\x00\x01\xe0\xf0\x08\x80\x80\x05!\x00\x01\x00\x01" + b"\x55" * 0xF000  # with a timestamp


@pytest.mark.parametrize(
    ("name", "codecs", "insert", "filler"),
    [
        ("a.flv", ("flv", "libmp3lame"), _flv_before_audio, 8 * FLV_VIDEO),
        ("a.mpg", ("mpeg2video", "mp2"), _ps_before_audio, 120 * PS_VIDEO),
    ],
)
def test_sound_that_begins_after_megabytes_of_video_is_found(write, name, codecs, insert, filler):
    """These containers do not list their tracks, and FFmpeg looks at the first 5 MB for them."""
    data = write(
        *video(3), "-i", "a.wav", "-map", "0:v", "-map", "1:a", "-r", "25", "-ar", "44100",
        "-c:v", codecs[0], "-c:a", codecs[1], name=name,
    )  # fmt: skip
    samples, _ = decode(insert(data, filler) + filler)  # FFmpeg also looks at the end of the file
    assert similarity(samples, TONE) > 0.95


def test_a_track_that_begins_after_the_chosen_one_ended_has_a_warning(write):
    """Program streams with other codecs were joined. FFmpeg adds the second track while it reads."""
    first = write("-i", "a.wav", "-c:a", "mp2", name="a.mpg")
    second = write("-i", "b.wav", "-c:a", "ac3", "-ar", "48000", "-f", "vob", name="b.vob")
    samples, audio = decode(first + 120 * PS_VIDEO + second + 120 * PS_VIDEO)
    assert similarity(samples, TONE) > 0.95
    warning = sentences(audio.warnings)[-1]
    assert warning.startswith("A second recording (MPEG-PS")


def test_a_track_that_is_added_while_reading_ends_no_decoding():
    """PyAV then raises an IndexError after the last packet."""

    class Container:
        def demux(self, _: object) -> Any:
            with av.open(io.BytesIO(media.wav(TONE)), "r") as container:
                yield from container.demux()
            raise IndexError

    packets = list(read_packets(Container(), None))  # type: ignore[arg-type]
    assert sum(packet.size for packet in packets) == TONE.nbytes


@pytest.mark.parametrize(
    ("fmt", "mark"),
    [(WMA, bytes.fromhex("9107dcb7b7a9cf118ee600c00c205365")), (Format("avi", "libmp3lame"), b"strh")],
    ids=["wma", "avi"],
)
def test_a_file_whose_tracks_are_damaged_is_undecodable(fmt, mark):
    """FFmpeg finds no track of any type. The message does not claim that the recording has no audio."""
    data = media.encode(fmt, media.warble(1, fmt.rate))
    assert mark in data
    with pytest.raises(UndecodableAudio) as refused:
        decode(data.replace(mark, bytes(len(mark))))
    assert refused.value.message.endswith("no track was found in it. It is damaged or cut short. Export it again.")
