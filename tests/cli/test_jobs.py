"""`asr-service jobs` against a running service."""

import json
import logging
import os
from collections.abc import Callable, Iterator

import pytest
import structlog
from typer.testing import CliRunner, Result

from api.jobs.client import endless
from api.live import Live, serving, tone, two_windows
from asr_service.cli.jobs import jobs_app
from asr_service.jobs.times import RunnerTimes
from cli import terminal


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    times = RunnerTimes(lease_s=5, poll_s=0.05, flush_s=0.01, sweep_s=1)
    configured = structlog.get_config()
    # The server is in this process, whose standard output is the command's.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with serving(
        job_times=times, vad_filter=False, max_audio_s=60, state_dir=tmp_path_factory.mktemp("state")
    ) as running:
        yield running
    structlog.configure(**configured)


@pytest.fixture
def run(live: Live) -> Callable[..., Result]:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(jobs_app, [*arguments, "--server", live.url])

    return run


def submitted(run: Callable[..., Result], *files: object, fields: tuple[str, ...] = ()) -> list[str]:
    result = run("submit", *map(str, files), *(word for field in fields for word in ("-F", field)))
    assert result.exit_code == 0, result.output
    lines = [line.split("  ") for line in result.stdout.splitlines()]
    assert [name for _, name in lines] == list(map(str, files))
    return [job_id for job_id, _ in lines]


def test_recordings_are_submitted_awaited_and_fetched(run, tmp_path):
    """The format may be another one than that of the submission."""
    files = [tmp_path / name for name in ("a.wav", "b.wav")]
    for file in files:
        file.write_bytes(tone())
    ids = submitted(run, *files, fields=("response_format=text", "language=en", "priority=low"))
    waited = run("wait", *ids)
    assert (waited.exit_code, waited.stdout) == (0, "".join(f"{job_id}  succeeded\n" for job_id in ids))
    assert run("fetch", ids[0]).stdout == "hello\n"
    assert run("fetch", ids[0], "--wait", "-f", "srt", "-o", str(tmp_path / "a.srt")).exit_code == 0
    assert "-->" in (tmp_path / "a.srt").read_text()
    shown = json.loads(run("show", ids[1]).stdout)
    assert (shown["id"], shown["status"]) == (ids[1], "succeeded")
    listed = run("list", "--status", "succeeded", "--limit", "1").stdout.splitlines()
    assert [line.split("  ")[0] for line in listed] == [ids[1]]


def test_a_refused_recording_is_named_and_the_others_are_submitted(run, tmp_path):
    names = ("empty.wav", "a.wav")
    for name, content in zip(names, (b"", tone()), strict=True):
        (tmp_path / name).write_bytes(content)
    result = run("submit", *(str(tmp_path / name) for name in names))
    assert result.exit_code == 1
    assert result.stderr.startswith(f"asr-service: {tmp_path}/empty.wav: The file is empty")
    assert result.stdout.endswith(f"  {tmp_path}/a.wav\n")


def test_each_name_is_one_line(run, tmp_path):
    """A name may have line ends, escape sequences and bytes that are no text."""
    file = tmp_path / os.fsdecode(b"a\nb\x1b[2J\xe9.wav")
    file.write_bytes(tone())
    result = run("submit", str(file))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith("a\\nb\\x1b[2J\\udce9.wav\n")


def test_jobs_are_cancelled_and_deleted(live, run, tmp_path):
    """The second time, because a cancelled job has ended."""
    (tmp_path / "a.wav").write_bytes(tone())
    (job_id,) = submitted(run, tmp_path / "a.wav")
    run("wait", job_id)
    assert run("cancel", job_id).stdout == f"{job_id}  deleted\n"
    gone = run("show", job_id)
    assert (gone.exit_code, gone.stderr) == (1, f"asr-service: There is no job '{job_id}'.\n")


@pytest.mark.parametrize("command", ["show", "wait", "cancel"])
def test_a_job_that_does_not_exist_does_not_stop_the_others(run, tmp_path, command):
    """It is named, and the exit code is 1."""
    (tmp_path / "a.wav").write_bytes(tone())
    (job_id,) = submitted(run, tmp_path / "a.wav")
    run("wait", job_id)
    result = run(command, "job_none", job_id)
    assert (result.exit_code, result.stderr) == (1, "asr-service: There is no job 'job_none'.\n")
    assert job_id in result.stdout


def test_a_job_that_fails_is_exit_code_1(run, tmp_path):
    """With the reason."""
    (tmp_path / "a.wav").write_bytes(endless(61))
    (job_id,) = submitted(run, tmp_path / "a.wav")
    waited = run("wait", job_id)
    assert waited.exit_code == 1
    assert waited.stdout.startswith(f"{job_id}  failed  ")
    fetched = run("fetch", job_id)
    assert fetched.exit_code == 1
    assert "no transcript" in fetched.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["submit", "missing.wav"], 2, "There is no file"),
        (["submit", __file__, "-F", "language"], 2, "NAME=VALUE"),
        (["submit", __file__, "-F", "language=en", "-F", "language=de"], 2, "--field language is given twice."),
        (["submit", __file__, "-F", "langauge=en"], 1, "Did you mean language?"),
        (["submit", "-"], 2, "There is no file '-'. Only `asr-service transcribe` reads standard input."),
        (["submit", "/dev/null"], 2, "'/dev/null' is a folder, a pipe or a device, and no file."),
        (["submit", "a" * 300], 2, "cannot be read: file name too long."),
        (["show", ""], 2, "'' is not the id of a job."),
        (["fetch", ""], 2, "'' is not the id of a job."),
        (["show", ".."], 2, "'..' is not the id of a job."),
        (["cancel", "job_1/events"], 2, "'job_1/events' is not the id of a job."),
        (["show", "job_1"], 1, "There is no job 'job_1'."),
        (["list", "--status", "done"], 1, "status=done is not valid"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(run, arguments, code, message):
    """A mistake in the command is exit code 2, a refusal of the service 1."""
    result = run(*arguments)
    assert (result.exit_code, message in " ".join(result.stderr.replace("│", " ").split())) == (code, True)


def test_transcribe_makes_each_recording_a_job(live, tmp_path):
    """The text is the same. The same command finds the job again, and replaces one that has not succeeded."""
    (tmp_path / "a.wav").write_bytes(two_windows())
    command = ["transcribe", "a.wav", "-l", "en", "--server", live.url]
    expected = terminal.run(*command, cwd=tmp_path)
    first = terminal.run(*command, "--as-job", cwd=tmp_path)
    assert (first.returncode, first.stdout) == (0, expected.stdout), first.stderr
    before = jobs_of(live)
    again = terminal.run(*command, "--as-job", cwd=tmp_path)
    assert (again.stdout, jobs_of(live)) == (expected.stdout, before)
    (tmp_path / "long.wav").write_bytes(endless(61))
    failed = terminal.run("transcribe", "long.wav", "--server", live.url, "--as-job", cwd=tmp_path)
    assert failed.returncode == 1
    assert "longer than the limit" in failed.stderr
    failed_id = jobs_of(live)[0]
    terminal.run("transcribe", "long.wav", "--server", live.url, "--as-job", cwd=tmp_path)
    assert failed_id not in jobs_of(live)


def jobs_of(live: Live) -> list[str]:
    return [job["id"] for job in live.get("/jobs").json()["data"]]
