"""A fake model that writes what a script says, and can be made slow or faulty."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from asr_service.audio.features import Features
from asr_service.engine.model.protocol import Alignment, Encoding, GenerateOptions, Generation, ModelFacts
from asr_service.hardware.devices import Device
from asr_service.languages import LANGUAGES


def fake_tokenizer(languages: Sequence[str] = tuple(LANGUAGES)) -> tokenizers.Tokenizer:
    """Return a tokenizer with Whisper's special tokens and one token for each byte of text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["endoftext", "startoftranscript", *languages, "translate", "transcribe", "startoflm", "startofprev"]
    special += ["nospeech", "notimestamps", *(f"{step * 0.02:.2f}" for step in range(1501))]
    tokenizer.add_special_tokens([f"<|{name}|>" for name in special])
    return tokenizer


@dataclass(frozen=True)
class Call:
    """One call of the model: its stage, the number of windows, and the frames of each."""

    stage: str
    n_windows: int
    n_frames: int
    options: GenerateOptions | None = None
    prompts: tuple[tuple[int, ...], ...] = ()


Script = Callable[["FakeModel", Encoding, Sequence[int], GenerateOptions], Generation]


def writing(text: str, *, until_s: float = 1.0, avg_logprob: float = -0.2, no_speech_prob: float = 0.01) -> Script:
    """Return a script that writes one segment, from 0 to `until_s`."""

    def script(model: "FakeModel", *_: object) -> Generation:
        tokens = (model.at(0.0), *model.tokens(text), model.at(until_s))
        return Generation(tokens, avg_logprob, no_speech_prob)

    return script


@dataclass
class FakeModel:
    """Decodes each window with `script`. Runs `before` before each call, which may sleep, block or raise."""

    script: Script = field(default_factory=lambda: writing(" hello"))
    before: Callable[[Call], object] = lambda _: None
    language: str = "en"
    detects: Callable[[Encoding], str] | None = None
    """Returns the language of an encoding; None detects `language` always."""
    facts: ModelFacts = field(default_factory=lambda: ModelFacts("fake", 80, True, Device("cpu"), "int8", 2))
    tokenizer: tokenizers.Tokenizer = field(default_factory=fake_tokenizer)
    calls: list[Call] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def at(self, seconds: float) -> int:
        return (self.tokenizer.token_to_id("<|0.00|>") or 0) + round(seconds / 0.02)

    def tokens(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def english_only(self) -> "FakeModel":
        return replace(self, facts=replace(self.facts, multilingual=False))

    def calls_of(self, stage: str) -> list[Call]:
        return [call for call in self.calls if call.stage == stage]

    def last_prompt(self) -> str:
        """Return the prompt of the last window, with special tokens as text."""
        return self.tokenizer.decode(list(self.calls_of("generate")[-1].prompts[-1]), skip_special_tokens=False)

    def last_options(self) -> GenerateOptions:
        """Return the options of the last window."""
        options = self.calls_of("generate")[-1].options
        assert options is not None
        return options

    def encode(self, windows: Sequence[Features]) -> list[Encoding]:
        self._note(Call("encode", len(windows), windows[0].shape[1]))
        return [_encoding(window) for window in windows]

    def detect_languages(self, encodings: Sequence[Encoding]) -> list[dict[str, float]]:
        self._note(Call("detect", len(encodings), 2 * len(encodings[0])))
        return [{self.detects(encoding) if self.detects else self.language: 0.9, "la": 0.1} for encoding in encodings]

    def generate(
        self, encodings: Sequence[Encoding], prompts: Sequence[Sequence[int]], options: GenerateOptions
    ) -> list[Generation]:
        self._note(Call("generate", len(encodings), 2 * len(encodings[0]), options, tuple(map(tuple, prompts))))
        return [
            self.script(self, encoding, prompt, options) for encoding, prompt in zip(encodings, prompts, strict=True)
        ]

    def align(
        self,
        encodings: Sequence[Encoding],
        start_sequence: Sequence[int],  # noqa: ARG002
        text_tokens: Sequence[Sequence[int]],
        n_frames: Sequence[int],
    ) -> list[Alignment]:
        self._note(Call("align", len(encodings), 2 * len(encodings[0])))
        return [_even(len(tokens), frames) for tokens, frames in zip(text_tokens, n_frames, strict=True)]

    def _note(self, call: Call) -> None:
        with self._lock:
            self.calls.append(call)
        self.before(call)


def _encoding(window: Features) -> Encoding:
    """Return the loudness of each frame, by which a script can distinguish windows."""
    loudness: Encoding = window[:, ::2].mean(axis=0)[:, np.newaxis]
    return loudness


def _even(n_tokens: int, n_frames: int) -> Alignment:
    """Return an alignment that spreads the tokens evenly over the window, the end of text last."""
    steps = n_frames // 2
    pairs = tuple((min(step * (n_tokens + 1) // steps, n_tokens), step) for step in range(steps))
    return Alignment(pairs, (0.9,) * n_tokens)


def sleeping(seconds: float, stage: str = "generate") -> Callable[[Call], None]:
    """Return a function for `FakeModel.before` that makes a stage take this long."""

    def before(call: Call) -> None:
        if call.stage == stage:
            time.sleep(seconds)

    return before
