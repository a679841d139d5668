"""Files that are refused, through a real decoder child."""

import os
from collections.abc import Iterator

import numpy as np
import pytest

from asr_service.errors import UndecodableAudio, UnsupportedAudio
from decoder import media
from decoder.decoding import decode
from decoder.media import ALAC, M4A
from http_servers import Handler, serving_http


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "empty", id="zero-bytes"),
        pytest.param(b"Dear Sir or Madam,\n" * 40, "text", id="text"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + media.noise(400), "PNG", id="image"),
        pytest.param(b"<!DOCTYPE html><html><body>502</body></html>", "web page", id="web-page"),
        pytest.param(b"PK\x03\x04" + media.noise(4000), "ZIP", id="zip"),
        pytest.param(bytes(50_000), "zero bytes", id="zeros"),
        pytest.param(media.warble(1).tobytes(), "raw samples", id="raw-samples"),
        pytest.param(media.encode_video("mp4", None, media.warble(1)), "no audio", id="silent-film"),
        pytest.param(media.encode_video("matroska", None, media.warble(1)), "only video", id="silent-mkv"),
    ],
)
def test_a_file_without_audio_is_refused(data, message):
    """The message says what the file looks like."""
    with pytest.raises(UnsupportedAudio, match=message):
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
def test_an_audio_file_that_cannot_be_read_is_undecodable(data):
    """The error is not 'unsupported': the client sent the right kind of file, but it is damaged."""
    with pytest.raises(UndecodableAudio):
        decode(data)


@pytest.fixture
def http_server() -> Iterator[tuple[str, list[str]]]:
    """The address of an HTTP server, and the paths of the requests that it received."""
    paths: list[str] = []

    class Recorder(Handler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.answer(404)

    with serving_http(Recorder) as url:
        yield url, paths


REFERRING_FILES = {
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


@pytest.mark.parametrize("kind", REFERRING_FILES)
def test_a_file_that_refers_to_others_opens_nothing(kind, tmp_path, http_server):
    """Playlists, concat scripts, SDP, HLS and DASH are refused; the file and the server they name are not accessed."""
    url, paths = http_server
    canary = tmp_path / "canary.wav"
    canary.write_bytes(media.wav(media.warble(1)))
    os.utime(canary, (0, canary.stat().st_mtime))  # a read would change the access time
    with pytest.raises(UnsupportedAudio, match=r"playlist|script|SDP|DASH|XML"):
        decode(REFERRING_FILES[kind].format(file=canary, url=url).encode())
    assert paths == []
    assert canary.stat().st_atime == 0


@pytest.mark.parametrize("n_bytes", [500, 100_000])
def test_a_wav_file_of_noise_without_a_packet_is_undecodable(n_bytes):
    """The header declares FLAC, and no packet is found in the noise."""
    noise = media.noise(n_bytes)
    data = bytearray(media.wav(np.frombuffer(noise, np.int16)))
    data[20:22] = b"\xac\xf1"
    with pytest.raises(UndecodableAudio):
        decode(bytes(data))


def test_a_big_endian_wav_file_is_refused():
    """FFmpeg would decode it to noise."""
    with pytest.raises(UnsupportedAudio, match="RIFX"):
        decode(b"RIFX" + media.wav(media.warble(1))[4:])
