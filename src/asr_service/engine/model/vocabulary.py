"""The tokens of a model, and the prompts made of them."""

from collections.abc import Sequence
from functools import cached_property
from typing import Final

import tokenizers
from faster_whisper.tokenizer import Tokenizer

from asr_service.engine.model.prompt import Prompt
from asr_service.engine.model.protocol import SpeechModel
from asr_service.engine.options import MAX_LENGTH, DecodingOptions, Task
from asr_service.languages import LANGUAGES

_MAX_PROMPT_TOKENS: Final = MAX_LENGTH // 2 - 1


class Vocabulary:
    """Converts between text and the tokens of one model."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, *, multilingual: bool) -> None:
        """Create a vocabulary on the tokenizer of a model."""
        self._tokenizer = tokenizer
        self._multilingual = multilingual
        self._tokenizers: dict[tuple[str, Task], Tokenizer] = {}

    def tokenizer_for(self, language: str, task: Task) -> Tokenizer:
        """Return faster-whisper's tokenizer for a language and a task."""
        if (language, task) not in self._tokenizers:
            self._tokenizers[language, task] = Tokenizer(self._tokenizer, self._multilingual, task, language)
        return self._tokenizers[language, task]

    @property
    def _any_tokenizer(self) -> Tokenizer:
        """A tokenizer for what does not depend on language and task."""
        return self.tokenizer_for("en", "transcribe")

    @cached_property
    def timestamp_begin(self) -> int:
        """The first timestamp token, `<|0.00|>`. All tokens from it on are timestamps."""
        return int(self._any_tokenizer.timestamp_begin)

    @cached_property
    def suppressed(self) -> tuple[int, ...]:
        """Tokens that decoding never writes: brackets, notes and speaker marks, and most control tokens."""
        tokenizer = self._any_tokenizer
        control = (
            tokenizer.transcribe,
            tokenizer.translate,
            tokenizer.sot,
            tokenizer.sot_prev,
            tokenizer.sot_lm,
            tokenizer.no_speech,
        )
        return tuple(sorted({*tokenizer.non_speech_tokens, *(token for token in control if token is not None)}))

    def text(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens; control and timestamp tokens have none."""
        return str(self._any_tokenizer.decode(list(tokens)))

    def text_tokens(self, tokens: Sequence[int]) -> list[int]:
        """Return the tokens without control and timestamp tokens."""
        eot = self._any_tokenizer.eot
        return [token for token in tokens if token < eot]

    def prompt(self, options: DecodingOptions, language: str, previous_tokens: Sequence[int] = ()) -> Prompt:
        """Return the tokens that the decoder begins with: text before the window, then language and task.

        `previous_tokens` are the tokens of what was spoken just before the window. With their timestamps, the model
        goes on to divide its text into segments. The text before the window consists of the
        hotwords, the initial prompt and these, and is limited to 223 tokens: of the initial prompt and of the previous
        tokens, the last ones are used.
        """
        tokenizer = self.tokenizer_for(language, options.task)
        hotword_tokens, prompt_tokens = (
            self._encode(tokenizer, text) for text in (options.hotwords, options.initial_prompt)
        )
        before = hotword_tokens[:_MAX_PROMPT_TOKENS]
        # A prompt may be the whole text so far. Its end is closest to the window.
        before += prompt_tokens[max(0, len(prompt_tokens) + len(before) - _MAX_PROMPT_TOKENS) :]
        before += list(previous_tokens)[len(before) - _MAX_PROMPT_TOKENS :] if len(before) < _MAX_PROMPT_TOKENS else []
        start = [*tokenizer.sot_sequence, *([] if options.timestamps else [tokenizer.no_timestamps])]
        return Prompt(tuple([tokenizer.sot_prev, *before, *start] if before else start), len(before) + bool(before))

    def _encode(self, tokenizer: Tokenizer, text: str | None) -> list[int]:
        """Encode a user's text. Only text tokens are kept, because text may imitate control tokens."""
        return self.text_tokens(tokenizer.encode(" " + text.strip())) if text and text.strip() else []


def known_languages(model: SpeechModel) -> frozenset[str]:
    """Return the codes of the languages that a model can write; only English if it is not multilingual."""
    if not model.facts.multilingual:
        return frozenset({"en"})
    return frozenset(code for code in LANGUAGES if model.tokenizer.token_to_id(f"<|{code}|>") is not None)
