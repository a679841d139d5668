"""The word error benchmark: its corpus, scores and intervals, and its client."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from benchmarks.common.corpus import Clip, read_corpus
from benchmarks.common.material import RATE
from benchmarks.common.scoring import Errors
from benchmarks.wer.development_set import Candidate, dialogues, is_usable, stamps
from benchmarks.wer.table import ALL, interval, markdown, score, score_groups, without_wrong_texts
from benchmarks.wer.transcripts import BaselineOptions, baseline, service
from http_servers import Handler, serving_http
from speech import DATA

MANIFEST: list[dict[str, Any]] = [
    {"file": "a.wav", "seconds": 60.0, "language": "en", "reference": "one small step"},
    {"file": "b.wav", "seconds": 30.0, "language": "fr", "reference": "un petit pas", "category": "telephony"},
    {"file": "c.wav", "seconds": 30.0, "language": "en", "reference": "", "category": "silence"},
    {"file": "d.wav", "seconds": 30.0, "language": "en"},
    {"file": "e.wav", "seconds": 30.0, "language": "en", "reference": "one small step", "duplicate_of": "a.wav"},
    {"file": "f.wav", "reference": "", "category": "corrupt"},
]


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, MANIFEST)))
    for row in MANIFEST:
        (tmp_path / row["file"]).write_bytes(b"RIFF")
    return read_corpus(tmp_path)


@pytest.fixture
def busy_service() -> Iterator[str]:
    """Start a server that refuses each file once with 503, and always refuses b.wav with 415."""
    refused: set[bytes] = set()

    class Fake(Handler):
        def do_POST(self) -> None:
            name = self.body().split(b'filename="')[1][:5]
            if name not in refused:
                refused.add(name)
                return self.answer_json(503, {"error": {"code": "overloaded"}})
            if name == b"b.wav":
                return self.answer_json(415, {"error": {"code": "unsupported_audio"}})
            return self.answer_json(200, {"text": f"heard {name.decode()}", "model": "base"})

        def answer_json(self, status: int, body: dict[str, object]) -> None:
            self.answer(status, json.dumps(body).encode(), {"retry-after": "0.01"})

    with serving_http(Fake) as url:
        yield url


def test_the_corpus_has_only_clips_that_can_be_scored(clips: list[Clip]) -> None:
    """Lines without a reference, lines without a length and copies are skipped. A silent clip has no language."""
    assert [(clip.path.name, clip.set_name) for clip in clips] == [
        ("a.wav", "en, speech"),
        ("b.wav", "fr, telephony"),
        ("c.wav", "no speech, silence"),
    ]


def test_an_unanswered_clip_counts_as_wrong(clips: list[Clip]) -> None:
    """All words of an unanswered clip count as errors."""
    transcripts = {"a.wav": "One small step!", "b.wav": None, "c.wav": ""}
    whole, *sets = score(clips, {"them": transcripts, "us": transcripts | {"b.wav": "un petit pas"}})
    assert (whole.name, whole.n_clips) == (ALL, 2)
    assert whole.scores == {"them": Errors(3, 6), "us": Errors(0, 6)}
    assert {row.name: row.unanswered["them"] for row in sets} == {"en, speech": 0, "fr, telephony": 1}


def test_the_table_shows_the_difference(clips: list[Clip]) -> None:
    """A row has both rates and their difference. Two clips are too few for an interval."""
    transcripts: dict[str, str | None] = {"a.wav": "one step", "b.wav": "un petit pas", "c.wav": ""}
    table = markdown(score(clips, {"them": transcripts, "us": transcripts | {"a.wav": "one small step"}}), {})
    assert "| all speech | 2 | 1.5 | 6 | 16.67 | 0.00 | -16.67 |  |" in table.splitlines()


@pytest.mark.parametrize(
    ("heard", "between"),
    [
        ({}, "+0.00 to +0.00"),
        ({"3.wav": ""}, "+0.00 to +33.33"),
        (dict.fromkeys(map("{}.wav".format, range(9)), "one step"), "+33.33 to +33.33"),
    ],
)
def test_an_interval_shows_how_many_clips_differ(tmp_path: Path, heard: dict[str, str | None], between: str) -> None:
    """A difference in one clip has a wide interval; the same difference in all clips has a narrow one."""
    clips = [Clip(tmp_path / f"{number}.wav", 1.0, "en", "one small step", "speech") for number in range(9)]
    right: dict[str, str | None] = {clip.path.name: clip.reference for clip in clips}
    assert [row.interval for row in score(clips, {"them": right, "us": right | heard})] == [between, between]


def test_the_interval_contains_the_difference() -> None:
    """It is a single point if all clips differ equally, and includes 0 if few clips differ."""
    before = {str(number): Errors(1, 10) for number in range(50)}
    assert interval(before, {name: Errors(2, 10) for name in before}) == "+10.00 to +10.00"
    low, high = interval(before, before | {"0": Errors(3, 10), "1": Errors(0, 10)}).split(" to ")
    assert float(low) < 0 < float(high)


def test_a_503_is_retried_and_another_error_is_final(clips: list[Clip], busy_service: str) -> None:
    """A clip with a final error has no transcript."""
    transcripts, model = service(clips, busy_service, 2, detect_language=True)
    assert transcripts == {"a.wav": "heard a.wav", "b.wav": None, "c.wav": "heard c.wav"}
    assert model == "base"


@pytest.mark.speech
def test_the_baseline_finds_the_model_of_the_service() -> None:
    """Faster-whisper itself asks the model hub for a name, although the service has the model without a hub."""
    clip = Clip(DATA / "en-wizard.flac", 4.9, "en", "", "speech")
    transcripts = baseline([clip], BaselineOptions("base", beam_size=1), cpu_threads=1, cache=None)
    assert "confused complaint" in (transcripts[clip.path.name] or "")


def test_clips_are_also_scored_by_half_language_and_length(clips: list[Clip]) -> None:
    """Each clip with speech is in three groups."""
    transcripts: dict[str, str | None] = {"a.wav": "one small step", "b.wav": "un pas", "c.wav": ""}
    groups = {row.name: row.scores["us"] for row in score_groups(clips, {"us": transcripts})}
    assert groups.pop("English") == Errors(0, 3)
    assert groups.pop("other languages") == Errors(1, 3)
    assert groups.pop("12 s and longer") == Errors(1, 6)
    assert sum(groups.values(), Errors(0, 0)) == Errors(1, 6)
    assert groups.keys() <= {"first half", "second half"}


def test_a_text_that_no_system_hears_is_left_out(clips: list[Clip]) -> None:
    """One system that hears it keeps it. Silence has no text that could be wrong."""
    wrong: dict[str, str | None] = {"a.wav": "quite another text", "b.wav": "une autre phrase", "c.wav": "you"}
    kept = without_wrong_texts(clips, {"them": wrong, "us": wrong | {"b.wav": "un petit mot"}}, 0.6)
    assert [clip.path.name for clip in kept] == ["b.wav", "c.wav"]


def test_a_dialogue_has_its_translated_text(tmp_path: Path) -> None:
    """The script of a level has the English text and its translation."""
    roots = {name: tmp_path / name for name in ("fillets-ng-data", "fillets-ng-data-nl", "fillets-ng-data-cs")}
    script = roots["fillets-ng-data"] / "usr/share/games/fillets-ng/script/city/dialogs_nl.lua"
    script.parent.mkdir(parents=True)
    script.write_text('dialogId("a-1", "font", "Welcome \\"here\\".")\ndialogStr("Welkom \\"hier\\".")\n')
    (found,) = dialogues(roots)
    assert (found.path.name, found.language, found.text) == ("a-1.ogg", "nl", 'Welkom "hier".')


def test_a_stamp_without_a_translation_is_left_out(tmp_path: Path) -> None:
    """Its recording is in another language than its text."""
    folder = tmp_path / "usr/share/tuxpaint/stamps/birds"
    folder.mkdir(parents=True)
    (folder / "owl.txt").write_text("An owl.\nes.utf8=Un búho.\n", encoding="utf-8")
    for name in ("owl_desc.ogg", "owl_desc_es.ogg", "owl_desc_fr.ogg", "owl_desc_xx.ogg"):
        (folder / name).touch()
    assert [(found.language, found.text) for found in stamps(tmp_path)] == [("en", "An owl."), ("es", "Un búho.")]


@pytest.mark.parametrize(
    ("text", "usable"),
    [
        ("a barn owl in a tree", True),
        ("an owl", False),
        ("one of the 12 owls", False),
        ("a barn owl in a tree, which cannot be said in so short a time", False),
    ],
    ids=["fits", "too short", "a number", "too long"],
)
def test_a_text_that_does_not_fit_its_recording_is_left_out(tmp_path: Path, text: str, usable: bool) -> None:
    """A text is usable if it may be what is said."""
    path = tmp_path / "owl.wav"
    soundfile.write(path, np.zeros(RATE * 12 // 5), RATE)
    assert is_usable(Candidate(path, "en", text, "stamps")) == usable
