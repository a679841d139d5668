"""A model's tokens, and the prompts made of them."""

from collections.abc import Sequence
from functools import cached_property

import tokenizers
from faster_whisper.tokenizer import Tokenizer

from asr_service.engine.model.prompt import Prompt
from asr_service.engine.model.protocol import SpeechModel
from asr_service.engine.options import MAX_LENGTH, DecodingOptions, Task
from asr_service.languages import LANGUAGES

_MAX_PROMPT = MAX_LENGTH // 2 - 1


class Vocabulary:
    """A model's tokens, and the prompts made of them."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, *, multilingual: bool) -> None:
        self._tokenizer = tokenizer
        self._multilingual = multilingual
        self._speakers: dict[tuple[str, Task], Tokenizer] = {}

    def tokenizer_for(self, language: str, task: Task) -> Tokenizer:
        """faster-whisper's view of the tokenizer for one language and task."""
        if (language, task) not in self._speakers:
            self._speakers[language, task] = Tokenizer(self._tokenizer, self._multilingual, task, language)
        return self._speakers[language, task]

    @cached_property
    def timestamp_begin(self) -> int:
        return int(self.tokenizer_for("en", "transcribe").timestamp_begin)

    @cached_property
    def suppressed(self) -> tuple[int, ...]:
        """Tokens that are no speech: brackets, notes, speaker marks, and the tokens of the protocol itself."""
        any_speaker = self.tokenizer_for("en", "transcribe")
        protocol = (
            any_speaker.transcribe,
            any_speaker.translate,
            any_speaker.sot,
            any_speaker.sot_prev,
            any_speaker.sot_lm,
            any_speaker.no_speech,
        )
        return tuple(sorted({*any_speaker.non_speech_tokens, *(token for token in protocol if token is not None)}))

    def text(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer_for("en", "transcribe").decode(list(tokens)))

    def text_tokens(self, tokens: Sequence[int]) -> list[int]:
        """The tokens that are text."""
        eot = self.tokenizer_for("en", "transcribe").eot
        return [token for token in tokens if token < eot]

    def prompt(self, options: DecodingOptions, language: str, spoken: Sequence[int] = ()) -> "Prompt":
        """The tokens that the decoder begins with: what came before, then language and task.

        `spoken` are text tokens said just before the window; of too many, the last count.
        """
        speaker = self.tokenizer_for(language, options.task)
        # Of the text of users, text alone: what looks like a token of the protocol would be one.
        expected, said = (
            self.text_tokens(speaker.encode(" " + text.strip())) if text and text.strip() else []
            for text in (options.hotwords, options.initial_prompt)
        )
        before = expected[:_MAX_PROMPT]
        # A prompt may be all that was said so far: its end is nearest to what comes.
        before += said[max(0, len(said) + len(before) - _MAX_PROMPT) :]
        before += list(spoken)[len(before) - _MAX_PROMPT :] if len(before) < _MAX_PROMPT else []
        start = [*speaker.sot_sequence, *([] if options.timestamps else [speaker.no_timestamps])]
        return Prompt(tuple([speaker.sot_prev, *before, *start] if before else start), len(before) + bool(before))


def known_languages(model: SpeechModel) -> frozenset[str]:
    """Codes of what a model can write; English alone, for one that is not multilingual."""
    if not model.facts.multilingual:
        return frozenset({"en"})
    return frozenset(code for code in LANGUAGES if model.tokenizer.token_to_id(f"<|{code}|>") is not None)
