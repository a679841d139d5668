"""`asr-service transcribe` as a process that uses a service with a fake model."""

import json
import os
import pty
import signal
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import trustme

from api.live import ALL, Live, serving, tone
from asr_service.access.keys import KeyLimits, entry, new_secret
from asr_service.cli.transcribe.files import history
from asr_service.formats import FILE_FORMATS
from cli.terminal import begin, run
from client.test_service import Answer, scripted
from decoder import media
from disks import small_disk
from fakes import Call, FakeModel, writing
from waiting import until

EVERY_FORMAT = [word for suffix in FILE_FORMATS for word in ("-f", suffix)]


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serving(FakeModel(script=writing(" hello"))) as live:
        yield live


@pytest.fixture
def remote(live: Live) -> list[str]:
    """Options that use this service and transcribe tones, which voice activity detection would skip."""
    return ["--server", live.url, "--no-vad"]


def tones(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tone(0.5))


def files_below(folder: Path) -> set[str]:
    """Return all files but the records of the options."""
    paths = (path for path in folder.rglob("*") if path.name != history.FILE_NAME)
    return {str(path.relative_to(folder)) for path in paths if path.is_file()}


def test_a_single_recording_is_printed(remote, tmp_path):
    """Its text goes to standard output, and no file is written."""
    tones(tmp_path, "a.wav")
    result = run("transcribe", "a.wav", *remote, cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "hello\n", "")
    assert files_below(tmp_path) == {"a.wav"}


def test_files_have_the_same_bytes_as_the_services_response(remote, live, tmp_path):
    """The command renders each format itself from a stream of segments."""
    tones(tmp_path, "a.wav")
    for formats in (["-f", "srt", "-f", "vtt"], ["-f", "txt", "-f", "tsv", "-f", "lrc", "-f", "json"]):
        result = run("transcribe", "a.wav", *formats, *remote, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    for suffix, fmt in FILE_FORMATS.items():
        answer = live.post(audio=tone(0.5), response_format=fmt.name).text
        written = (tmp_path / f"a.{suffix}").read_text(encoding="utf-8")
        if suffix == "json":
            assert json.loads(written) | {"timing": 0} == json.loads(answer) | {"timing": 0}
        else:
            assert written == answer


def test_subtitle_options_reach_the_layout(tmp_path):
    """Subtitles use word times and the given width without --word-timestamps. JSON then has no word times."""
    tones(tmp_path, "a.wav")
    model = FakeModel(script=writing(" hello there my old and dear friend"))
    with serving(model) as live:
        result = run(
            "transcribe", "a.wav", "-f", "srt", "-f", "vtt", "-f", "json", "--max-line-width", "12",
            "--max-line-count", "3", "--highlight-words", "--no-vad", "--server", live.url, cwd=tmp_path,
        )  # fmt: skip
    assert result.returncode == 0, result.stderr
    lines = (tmp_path / "a.srt").read_text().splitlines()
    assert all(len(line) <= 12 or "-->" in line for line in lines)
    assert any(a and b and c for a, b, c in zip(lines[2:], lines[3:], lines[4:], strict=False))
    assert "<00:00:00." in (tmp_path / "a.vtt").read_text()
    assert "words" not in json.loads((tmp_path / "a.json").read_text())["segments"][0]


def test_options_reach_the_model(live, tmp_path):
    """The service receives the command line's options as form fields."""
    tones(tmp_path, "a.wav")
    live.model.calls.clear()
    options = ["--language", "French", "--translate", "--prompt", "Words.", "--beam-size", "2", "--word-timestamps"]
    result = run("transcribe", "a.wav", "-f", "json", *options, "--no-vad", "--server", live.url, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    answer = json.loads((tmp_path / "a.json").read_text())
    assert (answer["task"], answer["language"]) == ("translate", "fr")
    assert answer["segments"][0]["words"]
    generate = live.model.calls_of("generate")[0]
    assert generate.options is not None
    assert generate.options.beam_size == 2
    assert len(generate.prompts[0]) > len("Words.")


def test_a_bad_file_does_not_stop_the_others(remote, tmp_path):
    """Good recordings are written whatever their names, bad ones are reported with a reason, and the exit code is 1."""
    odd = "line\nend \N{UNICORN FACE}.wav"
    no_text = os.fsdecode(b"caf\xe9 \x1b[31m.wav")
    tones(tmp_path, "in/a.wav", "in/-rf.wav", f"in/{odd}", f"in/{no_text}", "in/deep/a.wav")
    (tmp_path / "in/broken.mp3").write_bytes(b"\x13" * 4000)
    (tmp_path / "in/gone.wav").symlink_to("nowhere")
    result = run("transcribe", "in", "in/gone.wav", "-o", "out", "--json", *remote, cwd=tmp_path)
    assert result.returncode == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    failed = {line["source"]: line["error"] for line in lines if line["status"] == "failed"}
    assert set(failed) == {"in/broken.mp3", "in/gone.wav"}
    assert "No audio was recognised" in failed["in/broken.mp3"]
    assert {line["source"]: line["outputs"] for line in lines if line["status"] == "done"} == {
        "in/a.wav": ["out/a.txt"],
        "in/-rf.wav": ["out/-rf.txt"],
        f"in/{odd}": [f"out/{odd[:-4]}.txt"],
        f"in/{no_text}": [f"out/{no_text[:-4]}.txt"],
        "in/deep/a.wav": ["out/deep/a.txt"],
    }
    assert files_below(tmp_path / "out") == {"a.txt", "-rf.txt", f"{odd[:-4]}.txt", f"{no_text[:-4]}.txt", "deep/a.txt"}
    assert "\x1b" not in result.stderr
    assert "5 done, 2 failed; 0:00:02 of audio" in result.stderr


def test_other_options_replace_the_outputs_of_the_first(tmp_path):
    """The same command is skipped. With other options the text is written again, unless it was changed by hand."""
    tones(tmp_path, "a.wav")
    with serving(FakeModel(script=writing(" hello"))) as live:
        base = ["transcribe", "a.wav", "-f", "txt", "--no-vad", "--server", live.url]
        assert run(*base, cwd=tmp_path).returncode == 0
        assert "1 skipped" in run(*base, cwd=tmp_path).stderr
        live.model.script = writing(" translated")
        again = run(*base, "--translate", cwd=tmp_path)
        assert (again.returncode, (tmp_path / "a.txt").read_text()) == (0, "translated\n")
        assert "The outputs of 1 of the recordings had been written with other options.\n" in again.stderr
        assert "1 skipped" in run(*base, "--translate", cwd=tmp_path).stderr
        (tmp_path / "a.txt").write_text("corrected\n")
        refused = run(*base, cwd=tmp_path)
        assert (refused.returncode, (tmp_path / "a.txt").read_text()) == (1, "corrected\n")
        assert (
            "a.wav: a.txt: written with other options and changed since. --overwrite replaces it.\n" in refused.stderr
        )
        assert run(*base, "--overwrite", cwd=tmp_path).returncode == 0
    assert (tmp_path / "a.txt").read_text() == "translated\n"


def test_a_recording_without_speech_says_so(live, tmp_path):
    """On the terminal and in JSON. It is no failure, and its output is empty."""
    (tmp_path / "quiet.wav").write_bytes(media.wav(np.zeros(16_000, np.int16)))
    arguments = ["transcribe", "quiet.wav", "--server", live.url]
    printed = run(*arguments, cwd=tmp_path)
    assert (printed.returncode, printed.stdout) == (0, "")
    assert printed.stderr == "quiet.wav: No speech was found.\n"
    as_json = run(*arguments, "--json", cwd=tmp_path)
    assert json.loads(as_json.stdout)["warnings"] == ["No speech was found."]
    assert (tmp_path / "quiet.txt").read_text() == ""


def test_pipes_and_redirected_input_are_read_to_their_end(remote, tmp_path):
    """This includes named pipes, and a WAV whose writer could not go back to fill in its length."""
    streamed = media.wav(media.warble(1), declared_bytes=0xFFFF_FFFF)
    (tmp_path / "a.wav").write_bytes(streamed)
    os.mkfifo(tmp_path / "pipe")
    arguments = ["transcribe", "-", "-f", "srt", *remote]
    with subprocess.Popen(["cat", "a.wav"], cwd=tmp_path, stdout=subprocess.PIPE) as cat:
        assert run(*arguments, cwd=tmp_path, stdin=cat.stdout).stdout == "1\n00:00:00,000 --> 00:00:01,000\nhello\n"
    with (tmp_path / "a.wav").open("rb") as file:
        assert run(*arguments, cwd=tmp_path, stdin=file).returncode == 0
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(streamed,))
    writer.start()
    assert run("transcribe", "pipe", *remote, cwd=tmp_path).stdout == "hello\n"
    writer.join()


def test_a_name_that_the_system_refuses_is_a_failure(remote, tmp_path):
    """The failure is reported with the system's reason."""
    result = run("transcribe", "x" * 300, *remote, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (1, f"{'x' * 300}: file name too long\n1 failed\n")


def test_an_empty_pipe_is_a_failure(remote, tmp_path):
    """Most likely the program that writes into the pipe failed."""
    result = run("transcribe", "-", *remote, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert "The file is empty" in result.stderr


def test_transcripts_are_printed_in_the_order_of_the_arguments(tmp_path):
    """If the first recording is finished last, the others wait for it."""
    rest_done = threading.Event()

    def before(call: Call) -> None:
        if call.stage == "generate" and call.n_frames > 1500:
            assert rest_done.wait(20)

    model = FakeModel(script=writing(" hello"))
    (tmp_path / "long.wav").write_bytes(tone(20))
    tones(tmp_path, "b.wav")
    with serving(model) as live:
        model.before = before
        process = begin(
            "transcribe", "long.wav", "b.wav", "-o", "-", "-f", "json", "--no-vad", "--server", live.url, cwd=tmp_path
        )
        until(lambda: live.metric('asr_requests_total{code="200",endpoint="/transcribe"}'), what="the short recording")
        rest_done.set()
        out, _ = process.communicate(timeout=60)
    assert [round(json.loads(line)["duration"], 1) for line in out.decode().splitlines()] == [20.0, 0.5]


@contextmanager
def stuck_after(n: int) -> Iterator[tuple[Live, Callable[[], None]]]:
    """Run a service whose model transcribes `n` recordings and then blocks until the yielded function is called."""
    go_on = threading.Event()
    model = FakeModel()

    def before(_: Call) -> None:
        if len(model.calls_of("generate")) > n:
            go_on.wait(30)

    with serving(model) as live:
        model.calls.clear()  # of the warm-up
        model.before = before
        try:
            yield live, go_on.set
        finally:
            go_on.set()


@pytest.mark.parametrize("interruption", [signal.SIGKILL, signal.SIGINT])
def test_the_same_command_continues_a_stopped_run(interruption, tmp_path):
    """After a kill or Ctrl-C all written files are whole, and the next run transcribes only the rest."""
    tones(tmp_path, "in/a.wav", "in/b.wav", "in/c.wav", "in/d.wav")
    with stuck_after(2) as (live, let_go):
        command = ["transcribe", "in", "--jobs", "1", *EVERY_FORMAT, "--no-vad", "--server", live.url]
        process = begin(*command, cwd=tmp_path)
        until(lambda: len(live.model.calls_of("generate")) == 3)
        process.send_signal(interruption)
        _, stderr = process.communicate(timeout=30)
        written = {f"{name}.{suffix}" for name in "ab" for suffix in FILE_FORMATS}
        assert files_below(tmp_path / "in") == written | {"a.wav", "b.wav", "c.wav", "d.wav"}
        if interruption == signal.SIGINT:
            assert process.returncode == 130
            assert b"interrupted\n2 done, 2 not done" in stderr
            assert b"to transcribe the rest. A recording in progress starts again.\n" in stderr
        let_go()
        until(live.idle)
        live.model.calls.clear()
        again = run(*command, cwd=tmp_path)
        assert (again.returncode, len(live.model.calls_of("generate"))) == (0, 2)
        assert "2 done, 2 skipped" in again.stderr


def test_a_file_that_the_shell_has_just_created_is_not_an_up_to_date_output(remote, tmp_path):
    """`transcribe a.wav -f srt > a.srt` creates an empty a.srt that is newer than the recording."""
    tones(tmp_path, "a.wav")
    with (tmp_path / "a.srt").open("wb") as made:
        process = begin("transcribe", "a.wav", "-f", "srt", *remote, cwd=tmp_path, stdout=made)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert "hello" in (tmp_path / "a.srt").read_text()


def test_nothing_is_transcribed_if_the_output_folder_is_not_writable(remote, live, tmp_path):
    """The output folder is checked before the work."""
    tones(tmp_path, "a.wav")
    (tmp_path / "taken").write_text("a file")
    live.model.calls.clear()
    result = run("transcribe", "a.wav", "-o", "taken", *remote, cwd=tmp_path)
    assert (result.returncode, live.model.calls) == (1, [])
    assert "a.wav: taken: this is a file. Choose another folder with --output-dir." in result.stderr


def test_a_full_disk_ends_the_run(remote, tmp_path):
    """Written files are whole, and no further recording is transcribed."""
    tones(tmp_path, *(f"in/{n}.wav" for n in range(20)))
    out = tmp_path / "out"
    out.mkdir()
    with small_disk(out, "16k"):
        result = run("transcribe", "in", "-o", str(out), "-j", "1", *remote, cwd=tmp_path)
        written = [out / name for name in files_below(out)]
        assert {path.read_text() for path in written} == {"hello\n"}
    assert result.returncode == 1
    assert "cannot be written: No space left on device. Finished files are kept." in result.stderr
    assert "not done" in result.stderr
    assert all(path.suffix == ".txt" for path in written)


def test_a_closed_pipe_ends_the_run_without_a_traceback(remote, tmp_path):
    """With `| head` the command ends with 1 when head has closed the pipe."""
    tones(tmp_path, *(f"{n}.wav" for n in range(4)))
    reading, writing = os.pipe()
    os.close(reading)
    process = begin("transcribe", ".", "-o", "-", *remote, cwd=tmp_path, stdout=writing)
    os.close(writing)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, b"Traceback" in stderr) == (1, False)


@pytest.mark.parametrize("options", [[], ["-f", "txt", "--json"]], ids=["the text", "json"])
def test_a_full_standard_output_ends_the_run(options, remote, tmp_path):
    """Nothing more could be printed, and the first line says so."""
    tones(tmp_path, "a.wav")
    with Path("/dev/full").open("wb") as full:
        process = begin("transcribe", "a.wav", *options, *remote, cwd=tmp_path, stdout=full)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stderr.startswith(b"asr-service transcribe: standard output: no space left on device\n"), stderr


def test_the_command_works_with_closed_standard_streams(remote, tmp_path):
    """A daemon or a shell's `>&-` may leave none of the three open."""
    tones(tmp_path, "a.wav")
    process = begin("transcribe", "a.wav", "-f", "txt", *remote, cwd=tmp_path, stdin=None, closed=(0, 1, 2))
    process.communicate(timeout=60)
    assert (process.returncode, (tmp_path / "a.txt").read_text()) == (0, "hello\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.wav", "-o", "-", "-f", "srt", "-f", "vtt"], "takes one format"),
        (["a.wav", "-o", "-", "--json"], "--json uses standard output"),
        (["a.wav", "--beam-size", "11"], ": --beam-size=11 is not valid: expected a whole number from 1 to 10."),
        (["a.wav", "--beam-size", "x"], "--beam-size=x is not valid: expected a whole number from 1 to 10."),
        (["a.wav", "--beam-size", "1_0"], "--beam-size=1_0 is not valid: expected a whole number from 1 to 10."),
        (["a.wav", "--temperature= 0"], "--temperature=' 0' is not valid: expected a number from 0 to 1."),
        (["a.wav", "--max-line-width", "7"], "--max-line-width=7 is not valid: expected a whole number from 8 to 200."),
        (["a.wav", "--prompt", "x" * 4001], "xx...' is not valid: expected text of at most 4000 characters."),
        (["a.wav", "--jobs", "65"], "Invalid value for '--jobs' / '-j': '65' is not a whole number from 1 to 64."),
        (["a.wav", "--language", "Portugese"], "Did you mean 'portuguese'?"),
        (["a.wav", "--language", "Klingon"], "Use a name such as 'english' or one of these codes: af, am, ar, "),
        (["a.wav", "--server", "localhost:8000"], "is not an address"),
        (["a.wav", "--server", "http://x:y"], "is not an address"),
        (["a.wav", "--server", "http://x", "--model", "base"], "--model and --device"),
        (["a.wav", "--ca-file", "ca.pem"], "--ca-file applies only to a --server"),
        (["a.wav", "--as-job"], "--as-job applies only to a --server"),
        (["a.wav", "b/a.wav", "-o", "out"], "would both be written to out/a.txt"),
        ([], "Missing argument 'FILES'"),
    ],
)
def test_a_wrong_command_ends_with_2(arguments, message, tmp_path):
    """It ends before a model is loaded or a service is called."""
    tones(tmp_path, "a.wav", "b/a.wav")
    result = run("transcribe", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert message in " ".join(result.stderr.split())


def test_a_terminal_shows_progress(tmp_path):
    """There is a line for all recordings and one for each in work. Standard output has only the JSON."""
    tones(tmp_path, "a.wav", "b.wav")
    ours, theirs = pty.openpty()
    with stuck_after(1) as (slow, let_go):
        process = begin(
            "transcribe", "a.wav", "b.wav", "-j", "1", "--json", "--no-vad", "--server", slow.url,
            cwd=tmp_path, stderr=theirs, env={"TERM": "xterm", "COLUMNS": "100"},
        )  # fmt: skip
        os.close(theirs)
        shown = b""
        while b"1 of 2 recordings" not in shown or b"b.wav" not in shown or b"50 %" not in shown:
            shown += os.read(ours, 4096)
        let_go()
        out, _ = process.communicate(timeout=60)
        rest = b""
        try:
            while more := os.read(ours, 4096):
                rest += more
        except OSError:  # Linux: the other end is closed
            pass
    os.close(ours)
    assert process.returncode == 0
    assert b"2 done" in rest
    assert [json.loads(line)["status"] for line in out.splitlines()] == ["done", "done"]


def test_the_key_variable_is_not_a_setting(tmp_path):
    """ASRSERVICE_API_KEY is in the help, its value is not, and commands that read settings accept it."""
    tones(tmp_path, "a.wav")
    assert run("settings", cwd=tmp_path, ASRSERVICE_API_KEY="secret").returncode == 0
    result = run("transcribe", "--help", cwd=tmp_path, ASRSERVICE_API_KEY="secret")
    assert "ASRSERVICE_API_KEY" in result.stdout
    assert "secret" not in result.stdout


def test_a_key_that_cannot_be_sent_is_refused_without_repeating_it(remote, live, tmp_path):
    """A key with a line end may be the right one, so the message must not show it."""
    tones(tmp_path, "a.wav")
    for key in ("asr_secret\r", "asr_schlüssel"):
        result = run("transcribe", "a.wav", *remote, cwd=tmp_path, ASRSERVICE_API_KEY=key)
        assert (result.returncode, key.strip() in result.stderr) == (2, False)
        assert "line end" in result.stderr


def test_files_that_are_not_recordings_are_reported(remote, tmp_path):
    """Outputs of an earlier run are counted as ignored, and URLs fail with a hint. The recording is transcribed."""
    tones(tmp_path, "a.wav")
    (tmp_path / "notes.txt").write_text("notes")
    result = run("transcribe", "a.wav", "notes.txt", "https://example.com/b.mp3", *remote, cwd=tmp_path)
    assert (result.returncode, (tmp_path / "a.txt").read_text()) == (1, "hello\n")
    first, wrote, summary, note = result.stderr.splitlines()
    assert wrote == "a.wav: wrote a.txt"
    assert first == "https://example.com/b.mp3: URLs are not supported. Download the recording first."
    assert summary.startswith("1 done, 1 ignored, 1 failed; ")
    assert note.startswith("Ignored: ")


def test_a_rejected_key_names_the_option_to_pass_it(tmp_path):
    """The error names --api-key and its variable, not HTTP headers. The run ends with 69."""
    secret = new_secret()
    tones(tmp_path, "a.wav")
    with serving(FakeModel(), api_keys=entry("alice", secret, KeyLimits())) as locked:
        arguments = ["transcribe", "a.wav", "--server", locked.url, "--no-vad"]
        without = run(*arguments, cwd=tmp_path)
        wrong = run(*arguments, cwd=tmp_path, ASRSERVICE_API_KEY=new_secret())
        right = run(*arguments, cwd=tmp_path, ASRSERVICE_API_KEY=secret)
    advice = "--api-key or ASRSERVICE_API_KEY.\n"
    assert without.stderr == (
        f"asr-service transcribe: {locked.url} refused a request without an API key. Pass one with {advice}"
    )
    assert wrong.stderr == f"asr-service transcribe: {locked.url} rejected the API key. Check {advice}"
    assert [result.returncode for result in (without, wrong, right)] == [69, 69, 0]


def test_a_wrong_ca_file_is_named(tmp_path):
    """Without the option the error names it; with it, the error names the file."""
    tones(tmp_path, "a.wav")
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    with scripted(Answer(), tls=tls) as server:
        arguments = ["transcribe", "a.wav", "--server", server.url]
        without = run(*arguments, cwd=tmp_path)
        wrong = run(*arguments, "--ca-file", "other.pem", cwd=tmp_path)
    untrusted = f"The certificate of {server.url} is not trusted: unable to get local issuer certificate."
    assert f"{untrusted} If a private authority signed it, pass" in without.stderr
    assert f"{untrusted} --ca-file other.pem is not the certificate of the authority that signed it." in wrong.stderr
    assert (without.returncode, wrong.returncode) == (69, 69)


def test_the_service_still_works_after_all_this(live):
    """No request is left open, and a recording is transcribed."""
    until(live.idle)
    assert httpx.post(f"{live.url}/transcribe", files={"file": tone()}, data=ALL, timeout=60).status_code == 200
