"""Chinese text in one script. The conversions are OpenCC's own."""

from dataclasses import replace

import pytest

from asr_service.engine.model.protocol import Generation
from asr_service.engine.options import DecodingOptions
from asr_service.engine.pipeline.script import ScriptConverter
from asr_service.languages import ChineseScript
from asr_service.transcript import Segment, Word
from engines import engine_around, loud
from fakes import FakeModel

SIMPLIFIED, TRADITIONAL, HONG_KONG = ChineseScript
CHINESE = DecodingOptions(language="zh", vad_filter=False)


def spoken(text: str, words: tuple[str, ...] | None = None, language: str = "zh") -> Segment:
    timed = None if words is None else tuple(Word(word, float(at), at + 1.0, 0.9) for at, word in enumerate(words))
    return Segment(0, 0.0, 1.0, text, (1, 2), -0.1, 0.0, 1.0, 0.0, language, timed)


def texts(converter: ScriptConverter, *windows: str) -> list[str]:
    return [converter.convert([spoken(text)])[0].text for text in windows]


@pytest.mark.parametrize(
    ("script", "heard", "written"),
    [
        (SIMPLIFIED, "這裡的軟體後來為什麼", "这里的软体后来为什么"),
        (SIMPLIFIED, "这里的软体后来为什么", "这里的软体后来为什么"),
        (TRADITIONAL, "这里的软件后来为什么", "這裡的軟件後來為什麼"),
        (TRADITIONAL, "台北的皇后坐在這裡", "台北的皇后坐在這裡"),
        (TRADITIONAL, "這里的软件", "這裡的軟件"),
        (TRADITIONAL, "然后", "然後"),
        (HONG_KONG, "这里的软件为什么", "這裏的軟件為什麼"),
        (HONG_KONG, "這裡的軟件", "這裏的軟件"),
    ],
)
def test_a_requested_script_is_written(script: ChineseScript, heard: str, written: str) -> None:
    """Whatever the model wrote. The words are those that were spoken, not those of another country."""
    assert texts(ScriptConverter(replace(CHINESE, script=script)), heard) == [written]


def test_a_recording_keeps_the_script_in_which_it_begins() -> None:
    """Later windows follow the first text that has a character of one script only."""
    windows = ("好，", "我们今天开会", "後來為什麼", "然後", "我们")
    assert texts(ScriptConverter(CHINESE), *windows) == ["好，", "我们今天开会", "后来为什么", "然后", "我们"]
    windows = ("好，", "我們今天開會", "后来为什么", "在台北", "我们")
    assert texts(ScriptConverter(CHINESE), *windows) == ["好，", "我們今天開會", "後來為什麼", "在台北", "我們"]


def test_the_script_of_most_characters_counts() -> None:
    """One character of the other script, among several of a window, is a slip of the model."""
    assert texts(ScriptConverter(CHINESE), "這個問題我們来討論", "这个") == ["這個問題我們來討論", "這個"]


def test_a_prompt_shows_the_script() -> None:
    """People ask for a script with a prompt in it."""
    options = replace(CHINESE, initial_prompt="以下是普通话的句子。")
    assert texts(ScriptConverter(options), "這個問題") == ["这个问题"]
    assert texts(ScriptConverter(replace(options, script=TRADITIONAL)), "这个问题") == ["這個問題"]
    assert texts(ScriptConverter(replace(CHINESE, hotwords="台灣")), "这个问题") == ["這個問題"]


def test_segments_that_are_known_show_the_script() -> None:
    """A recording that was interrupted goes on in the script of its beginning."""
    converter = ScriptConverter(CHINESE, [spoken("好"), spoken("這個問題")])
    assert texts(converter, "这个问题") == ["這個問題"]


def test_words_are_converted_as_their_text_is() -> None:
    """A character may depend on its neighbours: the last of these is 發 or 髮. Times and probabilities stay."""
    options = replace(CHINESE, script=TRADITIONAL)
    heard = spoken("我剪头发", ("我", "剪", "头", "发"))
    [segment] = ScriptConverter(options).convert([heard])
    assert segment.text == "我剪頭髮"
    assert segment.words is not None
    assert heard.words is not None
    assert [word.word for word in segment.words] == list("我剪頭髮")
    assert [replace(word, word="") for word in segment.words] == [replace(word, word="") for word in heard.words]
    assert segment.tokens == heard.tokens


def test_words_that_do_not_make_up_the_text_are_converted_by_themselves() -> None:
    """The text then consists of the words, so that both have the same characters."""
    [segment] = ScriptConverter(replace(CHINESE, script=TRADITIONAL)).convert([spoken(" 这个问题。", ("这个", "问题"))])
    assert segment.words is not None
    assert (segment.text, [word.word for word in segment.words]) == ("這個問題", ["這個", "問題"])


@pytest.mark.parametrize(("language", "task"), [("ja", "transcribe"), ("en", "transcribe"), ("zh", "translate")])
def test_other_languages_stay_as_they_are(language: str, task: str) -> None:
    """Japanese has characters that are Simplified or Traditional in Chinese. Translations are in English."""
    options = replace(CHINESE, script=TRADITIONAL, task="translate" if task == "translate" else "transcribe")
    heard = spoken("国会と體育", language=language)
    assert ScriptConverter(options).convert([heard]) == [heard]


async def test_windows_of_one_recording_have_one_script() -> None:
    """The model writes every other window in Traditional characters. The segments that are streamed are final."""
    n_windows = 0

    def script(model: FakeModel, *_: object) -> Generation:
        nonlocal n_windows
        n_windows += 1
        text = "我们讨论这个" if n_windows % 2 else "我們討論這個"
        return Generation((model.at(0.0), *model.tokens(text), model.at(20.0)), -0.2, 0.01)

    async with engine_around(FakeModel(script), max_inflight_windows=1) as engine:
        file = engine.recording(loud(100))
        whole = await engine.transcript(file, CHINESE)
        streamed = [event async for event in engine.events(file, replace(CHINESE, script=HONG_KONG))]
    assert {segment.text for segment in whole.segments} == {"我们讨论这个"}
    assert len(whole.segments) >= 4
    assert whole.text == "".join(segment.text for segment in whole.segments)
    assert whole.language == "zh"
    assert {event.text for event in streamed if isinstance(event, Segment)} == {"我們討論這個"}
