"""Restrictions that the kernel refuses, and errors of our own code in a child, with real fork servers."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from asr_service import metrics
from asr_service.cli.doctor.model import check_decoder
from asr_service.decoder import process
from asr_service.decoder.pool import DecodeLimits, DecoderPool
from asr_service.decoder.protocol import RESTRICTIONS
from asr_service.errors import ConfigurationError, DecoderFailed
from asr_service.settings import Settings
from decoder import media
from decoder.decoding import LIMITS, decode_in, with_pool
from decoder.ffmpeg import ffmpeg, video, write_inputs

SECOND = media.wav(media.warble(1))
WITHOUT_SECCOMP = "from asr_service.decoder.sandboxed import sandbox; sandbox.apply_seccomp = lambda: None"
WITH_A_BUG = "from asr_service.decoder.recording import decode; run = decode._Decoding.run"
FAULTY = (
    "def fail(decoding):\n"
    "    if decoding._source.seek(0, 2) > 40_000: raise KeyError('a bug of ours')\n"
    "    return run(decoding)\n"
    "decode._Decoding.run = fail"
)


@pytest.fixture
def patched(monkeypatch) -> Callable[[str], None]:
    """Run these statements in each fork server before it starts."""

    def patch(statements: str) -> None:
        real = process._command

        def command(descriptor: int, limits: DecodeLimits) -> list[str]:
            arguments = real(descriptor, limits)[4:]
            program = f"{statements}\nimport sys\nfrom asr_service.decoder.sandboxed import fork_server\n"
            return [sys.executable, "-I", "-c", program + "fork_server.main(sys.argv[1:])", *arguments]

        monkeypatch.setattr(process, "_command", command)

    return patch


def gauge(name: str) -> float:
    return float(metrics.DECODER_RESTRICTION.labels(name)._value.get())


def test_every_restriction_is_tried_and_published():
    """The pool and the metric have each one. A test machine without them would fail here."""

    async def use(pool: DecoderPool) -> dict[str, bool]:
        return pool.restrictions

    assert with_pool(use) == dict.fromkeys(RESTRICTIONS, True)
    assert {gauge(name) for name in RESTRICTIONS} == {1}


def test_a_missing_restriction_is_logged_and_in_the_metric(patched):
    """Without a system-call filter a child could open files and start processes. The service decodes with a warning."""
    patched(WITHOUT_SECCOMP)

    async def use(pool: DecoderPool) -> int:
        return len((await decode_in(pool, SECOND))[0])

    with capture_logs() as logs:
        assert with_pool(use) == 16_000
    (line,) = (line for line in logs if line["event"] == "decoder restrictions missing")
    assert line["log_level"] == "warning"
    assert set(line["missing"]) >= {"files", "network"}
    assert {gauge("files"), gauge("network")} == {0}
    assert {gauge("memory"), gauge("writing")} == {1}


def test_a_required_restriction_that_is_missing_stops_the_start(patched):
    """`ASR_DECODER_SANDBOX=require` decodes nothing without it, and the error names it."""
    patched(WITHOUT_SECCOMP)

    async def start() -> None:
        await DecoderPool(LIMITS, require_sandbox=True).start()

    with pytest.raises(ConfigurationError, match=r"ASR_DECODER_SANDBOX=require.*files"):
        asyncio.run(start())


@pytest.mark.parametrize(("sandbox", "level"), [("warn", "warning"), ("require", "failure")])
def test_doctor_lists_each_restriction(patched, sandbox, level):
    """A restriction that does not hold is a warning, or a failure where it is required."""
    settings = Settings(decoder_sandbox=sandbox)
    listed = [finding for finding in check_decoder(settings) if finding.check == "sandbox"]
    assert [finding.message.partition(":")[0] for finding in listed] == list(RESTRICTIONS)
    assert {finding.level for finding in listed} == {"ok"}
    patched(WITHOUT_SECCOMP)
    found = {f.message.partition(":")[0]: f.level for f in check_decoder(settings) if f.check == "sandbox"}
    assert found["files"] == found["network"] == level
    assert found["memory"] == "ok"


def test_an_error_of_our_own_is_not_reported_as_damage(patched):
    """The traceback reaches the log and the failure a metric; the request gets an error of the service."""
    patched(f"{WITH_A_BUG}\n{FAULTY}")
    failures = metrics.DECODER_FAILURES.labels("bug")
    before = failures._value.get()

    async def use(pool: DecoderPool) -> int:
        with pytest.raises(DecoderFailed):
            await decode_in(pool, media.wav(media.warble(5)))
        return len((await decode_in(pool, SECOND))[0])  # an ordinary file is decoded at the same time

    with capture_logs() as logs:
        assert with_pool(use) == 16_000
    assert failures._value.get() == before + 1
    (line,) = (line for line in logs if line["event"] == "decoder child failed")
    assert "Traceback" in line["traceback"]
    assert "a bug of ours" in line["traceback"]


@pytest.mark.needs_program("ffmpeg")
def test_a_child_loads_nothing_after_it_is_sealed(tmp_path):
    """A file with a stream of every type is decoded without a further import, which a child could not make."""
    recording = tmp_path / "all.mkv"
    write_inputs(tmp_path)
    inputs = (*video(3), "-i", "a.wav", "-i", "s.srt", "-map", "0", "-map", "1", "-map", "2", "-attach", "s.srt")
    ffmpeg(tmp_path, *inputs, "-metadata:s:t", "mimetype=text/plain", "-c:a", "aac", name=recording.name)
    program = (
        "import sys\n"
        "from asr_service.decoder.protocol import DecodeLimits\n"
        "from asr_service.decoder.recording.decode import decode\n"
        "from asr_service.decoder.recording.output import Discarded\n"
        "from asr_service.decoder.sandboxed import fork_server\n"
        "limits = DecodeLimits(max_audio_s=60)\n"
        "fork_server.load_everything(limits)\n"
        "class Late:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        late.append(name)\n"
        "late = []\n"
        "sys.meta_path.insert(0, Late())\n"
        "outcome = decode(open(sys.argv[1], 'rb', buffering=0), limits, Discarded())\n"
        "print(outcome.verdict, late)\n"
    )
    done = _python(program, recording)
    assert done == "decoded []"


def _python(program: str, *arguments: Path) -> str:
    command = [sys.executable, "-I", "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout.strip()
