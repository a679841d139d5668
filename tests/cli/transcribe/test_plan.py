"""Which recordings are meant, and where what is written of them goes."""

import os
from pathlib import Path

import pytest

from asr_service.cli.transcribe.plan import Ambiguous, Plan, Wanted, make_plan
from asr_service.cli.transcribe.types import OutputFormat

TXT = Wanted((OutputFormat.TXT,))
ALL = Wanted((OutputFormat.TXT,), overwrite=True)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lay(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"")


def outputs(plan: Plan) -> dict[str, list[str]]:
    return {job.name: [str(path) for path in job.paths] for job in plan.jobs}


def failures(plan: Plan) -> dict[str, str | None]:
    return {result.source: result.error for result in plan.settled if result.status == "failed"}


def test_a_folder_gives_its_recordings_at_any_depth(here):
    """Those with an ending that recordings have, in order; what was written of them before is none."""
    lay("in/b.WAV", "in/a.mp3", "in/deep/er/c.opus", "in/notes.pdf", "in/a.txt", "in/deep/d.json")
    plan = make_plan(["in"], ALL)
    assert outputs(plan) == {
        "in/a.mp3": ["in/a.txt"],
        "in/b.WAV": ["in/b.txt"],
        "in/deep/er/c.opus": ["in/deep/er/c.txt"],
    }


def test_an_output_folder_gets_the_same_tree(here):
    """Below the folder that was named, one file a format; a file that was named goes to its top."""
    lay("in/a/x.mp3", "in/b/x.mp3", "else/where/y.mp3")
    plan = make_plan(["in", "else/where/y.mp3"], Wanted((OutputFormat.SRT, OutputFormat.TXT), Path("out")))
    assert outputs(plan) == {
        "in/a/x.mp3": ["out/a/x.srt", "out/a/x.txt"],
        "in/b/x.mp3": ["out/b/x.srt", "out/b/x.txt"],
        "else/where/y.mp3": ["out/y.srt", "out/y.txt"],
    }


def test_recordings_that_differ_by_their_ending_keep_it(here):
    """Whether both are named or one: an output's name does not depend on what else was asked for."""
    lay("talk.mp3", "talk.wav", "other.wav")
    assert outputs(make_plan(["."], TXT)) == {
        "other.wav": ["other.txt"],
        "talk.mp3": ["talk.mp3.txt"],
        "talk.wav": ["talk.wav.txt"],
    }
    assert outputs(make_plan(["talk.wav"], TXT)) == {"talk.wav": ["talk.wav.txt"]}


def test_two_recordings_for_one_file_are_refused(here):
    """Before anything is transcribed, with both names."""
    lay("a/x.mp3", "b/x.mp3")
    with pytest.raises(Ambiguous, match=r"a/x\.mp3 and b/x\.mp3 would both be written to out/x\.txt"):
        make_plan(["a/x.mp3", "b/x.mp3"], Wanted((OutputFormat.TXT,), Path("out")))


def test_a_recording_named_twice_is_done_once(here):
    """By itself, in its folder, by a pattern, by another spelling of its path."""
    lay("in/x.mp3")
    assert list(outputs(make_plan(["in/x.mp3", "in", "in/*.mp3", "./in/../in/x.mp3"], TXT))) == ["in/x.mp3"]


def test_a_pattern_is_one_only_where_no_file_is_called_so(here):
    """Brackets stand in many a file's name."""
    lay("a[1].mp3", "a1.mp3", "deep/er/b.mp3")
    assert list(outputs(make_plan(["a[1].mp3"], TXT))) == ["a[1].mp3"]
    assert list(outputs(make_plan(["**/*.mp3"], TXT))) == ["a1.mp3", "a[1].mp3", "deep/er/b.mp3"]


def test_a_file_that_is_named_may_be_called_anything(here):
    """But not as what is written: a shell's * takes in the outputs of the run before."""
    lay("call.dat", "call.txt", "call.srt")
    assert list(outputs(make_plan(["call.dat", "call.txt", "call.srt"], ALL))) == ["call.dat"]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("missing.mp3", "no such file or directory"),
        ("*.flac", "no file matches this"),
        ("empty", "no recordings in this folder"),
        ("/dev/null", "neither a file nor a folder nor a pipe"),
        ("x" * 300, "file name too long"),
    ],
)
def test_a_name_that_leads_nowhere_is_told_and_the_rest_goes_on(here, name, error):
    """One failure, with its reason."""
    lay("good.mp3", "empty/readme.md")
    plan = make_plan([name, "good.mp3"], TXT)
    assert failures(plan) == {name: error}
    assert list(outputs(plan)) == ["good.mp3"]


def test_what_is_newer_than_its_recording_is_finished(here):
    """All formats of it: one that is missing or older than the recording has it done again, and so has --overwrite."""
    both = Wanted((OutputFormat.TXT, OutputFormat.SRT))
    lay("x.mp3", "x.txt")
    assert outputs(make_plan(["x.mp3"], both)) != {}
    lay("x.srt")
    plan = make_plan(["x.mp3"], both)
    assert (plan.jobs, [result.status for result in plan.settled]) == ((), ["skipped"])
    assert outputs(make_plan(["x.mp3"], Wanted(both.formats, overwrite=True))) != {}
    os.utime("x.srt", (1, 1))
    assert outputs(make_plan(["x.mp3"], both)) != {}


def test_standard_input_has_a_name_for_its_file(here):
    """`-` with an output folder."""
    assert outputs(make_plan(["-"], Wanted((OutputFormat.VTT,), Path("out")))) == {"-": ["out/stdin.vtt"]}


def test_a_folder_within_a_folder_is_not_empty_for_having_been_seen(here):
    """Its recordings are done once, and nobody is told that there are none."""
    lay("calls/monday/a.wav", "calls/b.wav")
    for names in (["calls", "calls/monday"], ["calls/monday", "calls"], ["calls/**"], ["calls", "calls"]):
        plan = make_plan(names, ALL)
        assert (failures(plan), len(plan.jobs)) == ({}, 2), names
