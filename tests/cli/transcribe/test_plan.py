"""Which recordings a command transcribes, and where their outputs are written."""

import errno
import os
from pathlib import Path

import pytest

from asr_service.cli.transcribe.files.history import remember
from asr_service.cli.transcribe.files.plan import OutputConflict, OutputOptions, TranscribePlan, make_plan
from asr_service.formats import FILE_FORMATS

TXT = OutputOptions((FILE_FORMATS["txt"],))
ALL = OutputOptions((FILE_FORMATS["txt"],), overwrite=True)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def create(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"")


def outputs(plan: TranscribePlan) -> dict[str, list[str]]:
    return {task.name: [str(path) for path in task.output_paths] for task in plan.tasks}


def failures(plan: TranscribePlan) -> dict[str, str | None]:
    return {result.source: result.error for result in plan.known_results if result.status == "failed"}


def test_a_folder_is_searched_for_recordings_at_any_depth(here):
    """Files with the suffix of a recording are found in order. Earlier outputs are not."""
    create("in/b.WAV", "in/a.mp3", "in/deep/er/c.opus", "in/notes.pdf", "in/a.txt", "in/deep/d.json")
    plan = make_plan(["in"], ALL)
    assert outputs(plan) == {
        "in/a.mp3": ["in/a.txt"],
        "in/b.WAV": ["in/b.txt"],
        "in/deep/er/c.opus": ["in/deep/er/c.txt"],
    }


def test_an_output_folder_gets_the_same_tree(here):
    """It mirrors the tree below a named folder, with a file for each format. Outputs of a named file go to its top."""
    create("in/a/x.mp3", "in/b/x.mp3", "else/where/y.mp3")
    plan = make_plan(["in", "else/where/y.mp3"], OutputOptions((FILE_FORMATS["srt"], FILE_FORMATS["txt"]), Path("out")))
    assert outputs(plan) == {
        "in/a/x.mp3": ["out/a/x.srt", "out/a/x.txt"],
        "in/b/x.mp3": ["out/b/x.srt", "out/b/x.txt"],
        "else/where/y.mp3": ["out/y.srt", "out/y.txt"],
    }


def test_recordings_that_differ_only_by_suffix_keep_it(here):
    """The output's name is the same whether both recordings are named or one."""
    create("talk.mp3", "talk.wav", "other.wav")
    assert outputs(make_plan(["."], TXT)) == {
        "other.wav": ["other.txt"],
        "talk.mp3": ["talk.mp3.txt"],
        "talk.wav": ["talk.wav.txt"],
    }
    assert outputs(make_plan(["talk.wav"], TXT)) == {"talk.wav": ["talk.wav.txt"]}


def test_two_recordings_for_one_output_file_are_refused(here):
    """The plan raises OutputConflict, which names both recordings and the file."""
    create("a/x.mp3", "b/x.mp3")
    with pytest.raises(OutputConflict, match=r"a/x\.mp3 and b/x\.mp3 would both be written to out/x\.txt"):
        make_plan(["a/x.mp3", "b/x.mp3"], OutputOptions((FILE_FORMATS["txt"],), Path("out")))


def test_a_recording_named_twice_is_transcribed_once(here):
    """A path, its folder, a pattern and another spelling of the path all find the same recording."""
    create("in/x.mp3")
    assert list(outputs(make_plan(["in/x.mp3", "in", "in/*.mp3", "./in/../in/x.mp3"], TXT))) == ["in/x.mp3"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(here):
    """A name with brackets is a pattern only if no file has that name."""
    create("a[1].mp3", "a1.mp3", "deep/er/b.mp3")
    assert list(outputs(make_plan(["a[1].mp3"], TXT))) == ["a[1].mp3"]
    assert list(outputs(make_plan(["**/*.mp3"], TXT))) == ["a1.mp3", "a[1].mp3", "deep/er/b.mp3"]


def test_a_named_file_may_have_any_suffix_but_that_of_an_output(here):
    """A shell's * also names earlier outputs. They are reported as ignored."""
    create("call.dat", "call.txt", "call.srt")
    plan = make_plan(["call.dat", "call.txt", "call.srt"], ALL)
    assert list(outputs(plan)) == ["call.dat"]
    assert [(result.source, result.status) for result in plan.known_results] == [
        ("call.txt", "ignored"),
        ("call.srt", "ignored"),
    ]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("missing.mp3", "no such file or directory"),
        ("*.flac", "no file matches this pattern"),
        ("empty", "no recordings in this folder"),
        ("/dev/null", "not a file, a folder or a pipe"),
        ("https://example.com/a.mp3?b=c", "URLs are not supported. Download the recording first."),
        ("x" * 300, "file name too long"),
    ],
)
def test_a_name_without_a_recording_fails_alone(here, name, error):
    """The plan has one failure with its reason, and the other recordings."""
    create("good.mp3", "empty/readme.md")
    plan = make_plan([name, "good.mp3"], TXT)
    assert failures(plan) == {name: error}
    assert list(outputs(plan)) == ["good.mp3"]


def test_an_unreadable_folder_fails_with_its_reason_and_the_way_out(here, monkeypatch):
    """It is not reported as empty too, and the other folders are searched."""
    create("calls/a.wav", "calls/private/b.wav", "secret/c.wav")
    scan = os.scandir

    def scandir(path):
        if Path(path).name in {"private", "secret"}:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    plan = make_plan(["calls", "secret"], TXT)
    way_out = "Your user must be able to read the file, and to read and enter each folder (chmod +rX)."
    assert failures(plan) == dict.fromkeys(["calls/private", "secret"], f"permission denied. {way_out}")
    assert list(outputs(plan)) == ["calls/a.wav"]


def test_a_recording_is_skipped_only_if_all_outputs_are_newer(here):
    """A missing or older output makes the recording a task again, and so does --overwrite."""
    both = OutputOptions((FILE_FORMATS["txt"], FILE_FORMATS["srt"]))
    create("x.mp3", "x.txt")
    assert outputs(make_plan(["x.mp3"], both)) != {}
    create("x.srt")
    plan = make_plan(["x.mp3"], both)
    assert (plan.tasks, [result.status for result in plan.known_results]) == ((), ["skipped"])
    assert outputs(make_plan(["x.mp3"], OutputOptions(both.formats, overwrite=True))) != {}
    os.utime("x.srt", (1, 1))
    assert outputs(make_plan(["x.mp3"], both)) != {}


def write(path: str, text: str, **made_with: object) -> None:
    """Write an output as the command does."""
    Path(path).write_text(text)
    remember(Path(path), made_with, Path(path).stat())


@pytest.mark.parametrize(
    ("recorded", "edited", "status"),
    [
        ({"language": "en"}, False, "skipped"),
        ({"language": "en"}, True, "skipped"),
        ({"language": "fr"}, False, "task"),
        ({}, False, "task"),
        ({"language": "fr"}, True, "failed"),
        (None, False, "skipped"),
    ],
    ids=["same", "same and changed", "other", "none then", "other and changed", "no record"],
)
def test_an_output_of_other_options_is_made_again_unless_it_was_changed(recorded, edited, status, here):
    """A text that somebody corrected is not replaced without --overwrite. Without a record, its time decides."""
    create("x.mp3", "x.txt")
    if recorded is not None:
        write("x.txt", "text", **recorded)
    if edited:
        Path("x.txt").write_text("corrected")
    plan = make_plan(["x.mp3"], TXT, lambda _: {"language": "en"})
    statuses = [result.status for result in plan.known_results] + ["task" for _ in plan.tasks]
    assert statuses == [status]
    assert plan.n_other_options == (status == "task")
    if status == "failed":
        expected = "x.txt: written with other options and changed since. --overwrite replaces it."
        assert failures(plan) == {"x.mp3": expected}
    assert outputs(make_plan(["x.mp3"], ALL, lambda _: {"language": "en"})) == {"x.mp3": ["x.txt"]}


def test_only_the_outputs_that_are_missing_are_written(here):
    """A text that somebody corrected stays as it is when subtitles are added."""
    create("x.mp3", "x.txt")
    both = OutputOptions((FILE_FORMATS["txt"], FILE_FORMATS["srt"]))
    assert outputs(make_plan(["x.mp3"], both)) == {"x.mp3": ["x.srt"]}


def test_a_damaged_record_is_ignored(here):
    """Lines that are not records are left out, and the last record that fits the output counts."""
    create("x.mp3")
    write("x.txt", "text", task="translate")
    write("x.txt", "text", task="transcribe")
    with Path(".asr-service.jsonl").open("a") as file:
        file.write('[]\n{"file": "x.txt"}\n{"file": "x.txt", "si')
    assert make_plan(["x.mp3"], TXT, lambda _: {"task": "transcribe"}).tasks == ()
    assert make_plan(["x.mp3"], TXT, lambda _: {"task": "translate"}).n_other_options == 1


def test_the_output_of_standard_input_is_called_stdin(here):
    """`-` with an output folder gives stdin.vtt."""
    assert outputs(make_plan(["-"], OutputOptions((FILE_FORMATS["vtt"],), Path("out")))) == {"-": ["out/stdin.vtt"]}


def test_a_folder_inside_another_named_folder_is_not_reported_as_empty(here):
    """Its recordings are transcribed once, and no failure says that there are none."""
    create("calls/monday/a.wav", "calls/b.wav")
    for names in (["calls", "calls/monday"], ["calls/monday", "calls"], ["calls/**"], ["calls", "calls"]):
        plan = make_plan(names, ALL)
        assert (failures(plan), len(plan.tasks)) == ({}, 2), names
