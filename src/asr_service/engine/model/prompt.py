"""The tokens that decoding begins with, and how many tokens may follow them."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from asr_service.engine.model.protocol import GenerateOptions
from asr_service.engine.options import MAX_LENGTH, DecodingOptions


@dataclass(frozen=True, slots=True)
class Prompt:
    """The tokens that the decoder begins with."""

    tokens: tuple[int, ...]
    sot_index: int
    """Index of `<|startoftranscript|>` in `tokens`."""
    n_forced: int = 0
    """Text tokens at the end of `tokens` that the output begins with."""

    @property
    def shape(self) -> Hashable:
        """A key that prompts in one batch must share, as https://github.com/OpenNMT/CTranslate2 requires."""
        return self.sot_index, len(self.tokens) - self.n_forced

    def forcing(self, tokens: Sequence[int]) -> "Prompt":
        """Return the prompt for an output that begins with these text tokens."""
        return Prompt((*self.tokens, *tokens), self.sot_index, self.n_forced + len(tokens))


def generate_options(
    options: DecodingOptions,
    prompt: Prompt,
    temperature: float,
    suppressed: tuple[int, ...],
    repetition_penalty: float = 1.0,
) -> GenerateOptions:
    """Return the model's options for one attempt.

    The maximum length is chosen so that `max_output_tokens` is `options.max_new_tokens`, as far as the decoder can hold
    so many tokens.
    """
    max_length = max(2 * options.max_new_tokens, len(prompt.tokens) + options.max_new_tokens)
    return GenerateOptions(
        beam_size=options.beam_size,
        temperature=temperature,
        max_length=min(MAX_LENGTH, max_length),
        suppress_tokens=suppressed,
        repetition_penalty=repetition_penalty,
    )


def max_output_tokens(options: GenerateOptions, prompt: Prompt) -> int:
    """Return how many tokens CTranslate2 generates at most.

    That is half of the maximum length, or what the prompt leaves of it if that is less.
    """
    return min(options.max_length // 2, options.max_length - len(prompt.tokens))
